"""Stage `analyse`: the paper's questions to the searches of all seeds; only the report reads it."""

from typing import TYPE_CHECKING, Any

from pipeline import paths
from pipeline.summary_table import Fact, Summary

if TYPE_CHECKING:
    from midas.data.prepared import DataMeta, Split
    from midas.proxy.config import DecodeStageConfig
    from midas.search.config import SearchConfig

SHOWN = 6  # images whose patches are kept for the report
BATCH = 256  # images that pass with these


def command() -> Summary:
    """Ask the searches the paper's questions."""
    from midas.analysis.paper_questions import one_of_each_class
    from midas.data.prepared import load_meta, load_split, save_split
    from midas.decode.evidence import agreement, decode_sample, load_evidence
    from midas.engine import seeding
    from midas.io import files
    from midas.proxy.config import DecodeStageConfig
    from midas.search.bilevel import BilevelSplit
    from midas.search.config import SearchConfig
    from pipeline import params

    seeding.deterministic()
    search = params.section("search", SearchConfig)
    config = params.section("decode", DecodeStageConfig)
    # where search.genotype names a cell nothing was searched, so there is nothing to ask
    seeds = params.value("seeds", params.Seeds) if search.genotype is None else []
    train = load_split(paths.DATA / "train.safetensors")
    meta = load_meta(paths.DATA / "meta.json")
    sample = decode_sample(BilevelSplit(train, search).architecture, config)
    shown = one_of_each_class(sample, SHOWN)
    entries = [
        load_evidence(paths.written(paths.decoded(seed), f"decode@{seed}")) for seed in seeds
    ]
    tables: dict[str, list[dict[str, Any]]]
    tables = {"cells": [], "weights": [], "patches": [], "spreads": []}
    answers = []
    for entry in entries:
        answer, added = _analyse_seed(entry, search, config, meta, sample, shown)
        answers.append(answer)
        for name, rows in added.items():
            tables[name] += rows
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


def _analyse_seed(
    entry: dict[str, Any],
    search: "SearchConfig",
    config: "DecodeStageConfig",
    meta: "DataMeta",
    sample: "Split",
    shown: "Split",
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """One seed's answers, and its rows of each table."""
    from midas.analysis.paper_questions import (
        analyse,
        patch_rows,
        spread_rows,
        weight_rows,
        without_pairs,
    )
    from midas.data.prepared import Split
    from midas.decode.decode import decode, sample_weights
    from midas.decode.evidence import entry_genotype
    from midas.decode.monitor import accuracy, decode_batches
    from midas.engine import seeding
    from midas.search.methods import FixedCell
    from midas.search.run import load_search
    from midas.spaces import get_space
    from pipeline import params

    seed = entry["seed"]
    space = get_space(params.value("space", str))
    searched = space.without(search.exclude)
    path = paths.search(seed) / "search.safetensors"
    supernet, method = load_search(path, space, search, len(meta.classes))
    seeding.seed_torch(config.seed, "decode")  # as the decode stage: `noise` draws from here
    batches = decode_batches(sample, meta, config.batch_size)
    samples = sample_weights(supernet, method, batches)
    accuracies = {}
    for rule, weights in (("pairs", samples), ("top-2", without_pairs(samples))):
        cell = FixedCell(decode(weights, searched, config.aggregation).cells)
        accuracies[rule] = round(accuracy(supernet, cell, sample, meta, config.batch_size), 6)
    answers = analyse(samples, sample.labels)
    kept = entry_genotype(entry, space)
    batch = Split(sample.images[:BATCH], sample.labels[:BATCH])
    name = f"seed {seed}"
    rows = {
        "cells": [{"seed": name, **row} for row in answers["cells"]],
        "weights": [{"seed": name, **row} for row in weight_rows(samples, searched)],
        "patches": [
            {"seed": seed, **row} for row in patch_rows(supernet, method, batch, shown, meta, kept)
        ],
        "spreads": [{"seed": seed, **row} for row in spread_rows(samples, searched, kept)],
    }
    return {"seed": seed, "subnetwork_accuracy": accuracies, **answers}, rows


def _facts(answer: dict[str, Any]) -> dict[str, Any]:
    """What is shown of one seed."""
    accuracies = answer["subnetwork_accuracy"]
    known = answer["class_accuracy"]
    return {
        "sub-network by the pair rule": Fact(accuracies["pairs"], ".1%"),
        "by the two strongest edges": Fact(accuracies["top-2"], ".1%"),
        "class predicted from the weights": None if known is None else Fact(known, ".1%"),
    }
