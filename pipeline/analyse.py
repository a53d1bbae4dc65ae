"""Stage `analyse`: the paper's questions to the searches of all seeds. Nothing else depends on it."""

from pipeline import layout


def command() -> None:
    """Ask how well operations are told apart, what the pair rule is worth, and what the weights know of the class."""
    from midas.analysis import analyse, weight_rows, without_pairs
    from midas.data.prepared import load_meta, load_split
    from midas.runs import files, seeding
    from midas.search.arms import DiscreteArm
    from midas.search.config import DecodeConfig, SearchConfig
    from midas.search.decode import decode
    from midas.search.monitor import accuracy
    from midas.search.selection import agreement, decode_sample, decode_seed
    from midas.search.store import load_search
    from midas.spaces import get_space
    from pipeline import params

    seeding.deterministic()
    space, config = get_space(params.value("space", str)), params.section("search", SearchConfig)
    how, seeds = params.section("decode", DecodeConfig), params.value("seeds", list[int])
    train, meta = load_split(layout.DATA / "train.safetensors"), load_meta(layout.DATA / "meta.json")
    searched, sample = space.without(config.exclude), decode_sample(train, config, how)
    found, cells, weights = [], [], []
    for seed in seeds:
        path = layout.SEARCH / f"seed-{seed}" / "search.safetensors"
        supernet, arm = load_search(path, space, config, len(meta.classes))
        decoded = decode_seed(seed, space, supernet, arm, config, how, train, meta)
        answers, rules = analyse(decoded.samples, sample.labels), {}
        for rule, samples in (("pairs", decoded.samples), ("top-2", without_pairs(decoded.samples))):
            cell = DiscreteArm(decode(samples, searched, how.rule).cells)
            rules[rule] = round(accuracy(supernet, cell, sample, meta, how.batch_size), 6)
        found.append((decoded, {"seed": seed, "subnetwork_accuracy": rules, **answers}))
        name = f"seed {seed}"
        cells += [{"seed": name, **row} for row in answers["cells"]]
        weights += [{"seed": name, **row} for row in weight_rows(decoded.samples, searched)]
    result = {
        "arm": config.arm,
        "patch_size": config.patch_size,
        "samples": len(sample),
        "agreement": round(agreement([decoded.genotype for decoded, _ in found]), 6),
        "seeds": [answers for _, answers in found],
    }
    files.write_json(layout.ANALYSIS / "analysis.json", result)
    files.write_csv(layout.ANALYSIS / "cells.csv", cells)
    files.write_csv(layout.ANALYSIS / "weights.csv", weights)
    first = found[0][1]["class_accuracy"]
    known = "" if first is None else f"; the class is predicted from seed {seeds[0]}'s weights with {first:.0%}"
    print(f"analyse: {len(seeds)} seeds agree on {result['agreement']:.0%} of the edges{known} -> {layout.ANALYSIS}")
