"""Stage `decode@seed`: from one search to one cell, by evidence and proxy trainings."""

from typing import Any

from pipeline import paths
from pipeline.names import Seed
from pipeline.summary_table import Fact, Summary


def command(seed: Seed) -> Summary:
    """Decode one seed; proxy trainings compare its cell with others."""
    from midas.data.prepared import load_meta, load_split
    from midas.decode.evidence import evidence, read_supernet
    from midas.engine import seeding
    from midas.engine.distributed import join
    from midas.io import files
    from midas.proxy.config import DecodeStageConfig
    from midas.proxy.local_search import neighbours, op_shares, result_rows, run_local_search
    from midas.search.bilevel import BilevelSplit
    from midas.search.config import SearchConfig
    from midas.search.run import load_search
    from midas.spaces import get_space
    from pipeline import checkpoints, params

    seeding.deterministic()
    search = params.section("search", SearchConfig)
    config = params.section("decode", DecodeStageConfig)
    out = paths.decoded(seed)
    if search.genotype is not None:
        files.write_json(out, {"seed": seed})
        facts = {"decoded": "nothing: search.genotype names a cell"}
        return Summary("decode", {f"seed {seed}": facts}, out.parent)
    space = get_space(params.value("space", str))
    searched = space.without(search.exclude)
    inputs = [paths.DATA / "train.safetensors", paths.DATA / "meta.json"]
    train = load_split(inputs[0])
    meta = load_meta(inputs[1])
    path = paths.search(seed) / "search.safetensors"
    supernet, method = load_search(path, space, search, len(meta.classes))
    with join() as distributed:
        device = distributed.device
    supernet.to(device)
    method.to(device)
    split = BilevelSplit(train, search)
    half = split.architecture
    samples, genotype = read_supernet(searched, supernet, method, search, config, half, meta)
    results = []
    checkpoint = None
    if config.proxy is not None:
        keys = {"space": space.name, "search": search.model_dump(), "decode": config.model_dump()}
        checkpoint = checkpoints.checkpoint("decode", seed, keys, [*inputs, path])
        count = min(config.samples, len(half))
        shares = op_shares(samples, searched, config.aggregation, count)
        first = [genotype, *neighbours(genotype, searched)]
        results = run_local_search(
            first, shares, searched, search, config.proxy, train, meta, seed, checkpoint, device
        )
        genotype = results[-1].genotype
    value = evidence(seed, genotype, samples, searched, supernet, method, config, half, meta)
    value["steps"] = search.epochs * split.steps_per_epoch
    if results:
        value["score"] = -round(results[-1].objective, 6)
        value["score_of"] = "objective of the proxy trainings, negated"
        value["proxy_trainings"] = result_rows(results)
    files.write_json(out, value)
    if checkpoint is not None:
        checkpoint.clear()
    facts = {**_facts(value), "cell": genotype.hash[:12]}
    return Summary("decode", {f"seed {seed}": facts}, out.parent)


def _facts(value: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "sub-network accuracy": Fact(value["subnetwork_accuracy"], ".1%"),
        "supernet accuracy": Fact(value["supernet_accuracy"], ".1%"),
        "skip connections": value["skips"],
        "margin": Fact(value["margin"], ".4f"),
    }
    if value["proxy_trainings"]:
        kept = value["proxy_trainings"][-1]
        facts["accuracy of the last proxy training"] = Fact(kept["accuracy"], ".1%")
        facts["objective: loss with the size prior"] = Fact(kept["objective"], ".3f")
    return facts
