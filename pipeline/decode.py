"""Stage `decode`: from the searches of all seeds to one genotype, and the evidence for it."""

from typing import TYPE_CHECKING, Any

from pipeline import layout

if TYPE_CHECKING:
    from midas.genotype import Genotype
    from midas.search.selection import Decoded


def command() -> None:
    """Decode every seed of params.yaml and keep the cell that does best (`midas.search.selection`)."""
    from midas.data.prepared import load_meta, load_split
    from midas.runs import files, seeding, world
    from midas.runs.summary import Fact, summarise
    from midas.search.config import DecodeConfig, SearchConfig
    from midas.search.given import given_genotype
    from midas.search.selection import decode_seed, seed_rows, select, summary
    from midas.search.store import load_search, steps_of
    from midas.spaces import get_space
    from pipeline import params, provenance, stage

    seeding.deterministic()
    space, config = get_space(params.value("space", str)), params.section("search", SearchConfig)
    if (given := given_genotype(space, config, layout.GENOTYPE)) is not None:
        _take(given)
        return
    how, seeds = params.section("decode", DecodeConfig), params.value("seeds", list[int])
    images = [layout.DATA / "train.safetensors", layout.DATA / "meta.json"]
    train, meta = load_split(images[0]), load_meta(images[1])
    keys = {"space": space.name, "search": config.model_dump(), "decode": how.model_dump()}
    found, checkpoints = [], []
    with world.joined() as alone:
        device = alone.device
    for seed in seeds:
        searched = layout.SEARCH / f"seed-{seed}" / "search.safetensors"
        supernet, arm = load_search(searched, space, config, len(meta.classes))
        supernet.to(device)
        arm.to(device)
        if how.refine is not None:  # short trainings take minutes
            checkpoints.append(stage.checkpoint("decode", seed, keys, [*images, searched]))
        kept = checkpoints[-1] if checkpoints else None
        found.append(decode_seed(seed, space, supernet, arm, config, how, train, meta, kept))
    chosen, evidence = select(found, space.without(config.exclude), how)
    _save(chosen.genotype, provenance.collect(chosen.seed, meta.fingerprint))
    files.write_json(layout.GENOTYPE / "decode.json", evidence)
    steps = steps_of(layout.SEARCH / f"seed-{chosen.seed}")
    files.write_json(layout.GENOTYPE / "metrics.json", summary(chosen, evidence, steps))
    files.write_csv(layout.GENOTYPE / "seeds.csv", seed_rows(evidence, config))
    columns = {
        f"seed {one.seed}": {
            "sub-network accuracy": Fact(entry["subnetwork_accuracy"], ".1%"),
            "supernet accuracy": Fact(entry["supernet_accuracy"], ".1%"),
            "skip connections": entry["skips"],
            **_short(one),
            "margin": Fact(entry["margin"], ".4f"),
            "cell": one.genotype.hash[:12],
            "edges that all seeds share": Fact(evidence["agreement"], ".0%") if one is chosen else None,
            "kept": "yes" if one is chosen else "no",
        }
        for one, entry in zip(found, evidence["seeds"], strict=True)
    }
    summarise("decode", columns, layout.GENOTYPE)
    for checkpoint in checkpoints:
        checkpoint.clear()


def _short(one: "Decoded") -> dict[str, Any]:
    """What short trainings say of a seed's cell, where there were any."""
    from midas.runs.summary import Fact

    if not one.trainings:
        return {}
    kept = one.trainings[-1]
    return {
        "after its last short training": Fact(kept.accuracy, ".1%"),
        "its loss there, with what a small network pays": Fact(kept.counts, ".3f"),
    }


def _take(genotype: "Genotype") -> None:
    """The same files for a cell that the parameters name; there is no evidence for it."""
    from midas.data.prepared import load_meta
    from midas.runs import files
    from midas.runs.summary import summarise
    from midas.search.given import SEEDS, no_evidence
    from pipeline import provenance

    evidence, metrics = no_evidence()
    _save(genotype, provenance.collect(None, load_meta(layout.DATA / "meta.json").fingerprint))
    files.write_json(layout.GENOTYPE / "decode.json", evidence)
    files.write_json(layout.GENOTYPE / "metrics.json", metrics)
    files.write_text(layout.GENOTYPE / "seeds.csv", SEEDS)
    summarise("decode", {"given": {"cell": genotype.hash[:12], "space": genotype.space}}, layout.GENOTYPE)


def _save(genotype: "Genotype", origin: dict[str, Any]) -> None:
    """The cell, where it comes from, its operations counted, and its picture."""
    from midas.genotype import save_genotype
    from midas.report.drawing import draw_svg
    from midas.runs import files
    from midas.search.selection import operation_counts

    save_genotype(layout.GENOTYPE / "genotype.json", genotype)
    files.write_json(layout.GENOTYPE / "provenance.json", origin)
    files.write_csv(layout.GENOTYPE / "operations.csv", operation_counts(genotype))
    files.write_text(layout.GENOTYPE / "cells.svg", draw_svg(genotype))
