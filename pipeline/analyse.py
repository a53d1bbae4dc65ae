"""Stage `analyse`: the paper's questions to the searches of all seeds; only the report reads it."""

from typing import Any

from pipeline import paths
from pipeline.summary_table import Fact, Summary

SHOWN = 6  # images whose patches are kept for the report


def command() -> Summary:
    """Ask the searches the paper's questions."""
    from midas.analysis.paper_questions import analyse_search, one_of_each_class
    from midas.data.prepared import load_meta, load_split, save_split
    from midas.decode.evidence import agreement, decode_sample, entry_genotype, load_evidence
    from midas.engine import seeding
    from midas.io import files
    from midas.proxy.config import DecodeStageConfig
    from midas.search.bilevel import BilevelSplit
    from midas.search.config import SearchConfig
    from midas.search.run import load_search
    from midas.spaces import get_space
    from pipeline import params

    seeding.deterministic()
    search = params.section("search", SearchConfig)
    config = params.section("decode", DecodeStageConfig)
    # where search.genotype names a cell nothing was searched, so there is nothing to ask
    seeds = params.value("seeds", params.Seeds) if search.genotype is None else []
    space = get_space(params.value("space", str))
    searched = space.without(search.exclude)
    train = load_split(paths.DATA / "train.safetensors")
    meta = load_meta(paths.DATA / "meta.json")
    sample = decode_sample(BilevelSplit(train, search).architecture, config)
    shown = one_of_each_class(sample, SHOWN)
    entries = [
        load_evidence(paths.written(paths.decoded(seed), f"decode@{seed}")) for seed in seeds
    ]
    tables: dict[str, list[dict[str, Any]]] = {"cells": [], "weights": [], "patches": []}
    answers = []
    for entry in entries:
        seed = entry["seed"]
        path = paths.search(seed) / "search.safetensors"
        modules = load_search(path, space, search, len(meta.classes))
        kept = entry_genotype(entry, space)
        seeding.seed_torch(config.seed, "decode")  # as the decode stage: `noise` draws from here
        answer, added = analyse_search(*modules, sample, shown, meta, config, searched, kept)
        answers.append({"seed": seed, **answer})
        for name, rows in added.items():
            label = seed if name == "patches" else f"seed {seed}"
            tables[name] += [{"seed": label, **row} for row in rows]
    result = {
        "method": search.method,
        "patch_size": search.patch_size,
        "samples": len(sample),
        "agreement": round(agreement([entry["genotype"] for entry in entries]), 6),
        "seeds": answers,
    }
    files.write_json(paths.ANALYSIS / "analysis.json", result)
    for name, rows in tables.items():
        files.write_csv(paths.ANALYSIS / f"{name}.csv", rows)
    save_split(paths.ANALYSIS / "images.safetensors", shown)
    columns = {f"seed {answer['seed']}": _facts(answer) for answer in answers}
    return Summary("analyse", columns, paths.ANALYSIS)


def _facts(answer: dict[str, Any]) -> dict[str, Any]:
    accuracies = answer["subnetwork_accuracy"]
    known = answer["class_accuracy"]
    return {
        "sub-network by the pair rule": Fact(accuracies["pairs"], ".1%"),
        "by the two strongest edges": Fact(accuracies["top-2"], ".1%"),
        "class predicted from the weights": None if known is None else Fact(known, ".1%"),
    }
