"""Stage `analyse`: the paper's questions to the searches of all seeds. Nothing else depends on it."""

from pipeline import layout

SHOWN = 6  # images whose patches are kept for the report


def command() -> None:
    """Ask how well operations are told apart, what the pair rule is worth, and what the weights know of the class."""
    from midas.analysis.patches import one_of_each_class, patch_rows, spread_rows
    from midas.analysis.questions import analyse, weight_rows, without_pairs
    from midas.data.prepared import Split, load_meta, load_split, save_split
    from midas.runs import files, seeding
    from midas.runs.summary import Fact, summarise
    from midas.search.arms import DiscreteArm
    from midas.search.config import DecodeConfig, SearchConfig
    from midas.search.decode import decode, sample_weights
    from midas.search.halves import Halves
    from midas.search.monitor import accuracy, decode_batches
    from midas.search.selection import agreement, decode_sample, decoded_cells
    from midas.search.store import load_search
    from midas.spaces import get_space
    from pipeline import params

    seeding.deterministic()
    space, config = get_space(params.value("space", str)), params.section("search", SearchConfig)
    how, seeds = params.section("decode", DecodeConfig), params.value("seeds", list[int])
    if config.genotype is not None:  # nothing was searched, so there is nothing to ask
        seeds = []
    train, meta = load_split(layout.DATA / "train.safetensors"), load_meta(layout.DATA / "meta.json")
    searched, sample = space.without(config.exclude), decode_sample(Halves(train, config).architecture, how)
    shown, batch = one_of_each_class(sample, SHOWN), Split(sample.images[:256], sample.labels[:256])
    kept = decoded_cells(files.read_json(layout.written(layout.GENOTYPE / "decode.json", "decode")), searched)
    found, cells, weights, patches, spreads = [], [], [], [], []
    for seed in seeds:
        path = layout.SEARCH / f"seed-{seed}" / "search.safetensors"
        supernet, arm = load_search(path, space, config, len(meta.classes))
        seeding.seed_torch(how.seed, "decode")  # as the decode stage: `noise` draws from here
        samples = sample_weights(supernet, arm, decode_batches(sample, meta, how.batch_size))
        answers, rules = analyse(samples, sample.labels), {}
        for rule, weighed in (("pairs", samples), ("top-2", without_pairs(samples))):
            cell = decode(weighed, searched, how.rule)
            rules[rule] = round(accuracy(supernet, DiscreteArm(cell.cells), sample, meta, how.batch_size), 6)
        found.append({"seed": seed, "subnetwork_accuracy": rules, **answers})
        name = f"seed {seed}"
        cells += [{"seed": name, **row} for row in answers["cells"]]
        weights += [{"seed": name, **row} for row in weight_rows(samples, searched)]
        patches += [{"seed": seed, **row} for row in patch_rows(supernet, arm, batch, shown, meta, kept[seed])]
        spreads += [{"seed": seed, **row} for row in spread_rows(samples, searched, kept[seed])]
    result = {
        "arm": config.arm,
        "patch_size": config.patch_size,
        "samples": len(sample),
        "agreement": round(agreement([kept[seed] for seed in seeds]), 6),
        "seeds": found,
    }
    files.write_json(layout.ANALYSIS / "analysis.json", result)
    files.write_csv(layout.ANALYSIS / "cells.csv", cells)
    files.write_csv(layout.ANALYSIS / "weights.csv", weights)
    files.write_csv(layout.ANALYSIS / "patches.csv", patches)
    files.write_csv(layout.ANALYSIS / "spreads.csv", spreads)
    save_split(layout.ANALYSIS / "images.safetensors", shown)
    columns = {
        f"seed {entry['seed']}": {
            "sub-network by the pair rule": Fact(entry["subnetwork_accuracy"]["pairs"], ".1%"),
            "by the two strongest edges": Fact(entry["subnetwork_accuracy"]["top-2"], ".1%"),
            "class predicted from the weights": known and Fact(known, ".1%"),
        }
        for entry in found
        for known in [entry["class_accuracy"]]
    }
    summarise("analyse", columns, layout.ANALYSIS)
