"""Stage `search@seed`: search one cell on the training images."""

from pipeline import launch, paths
from pipeline.names import Seed
from pipeline.summary_table import Fact, Summary


def command(seed: Seed) -> Summary | None:
    """Search one seed; goes on from a checkpoint."""
    from midas.data.prepared import load_meta, load_split
    from midas.decode.monitor import search_monitor
    from midas.engine import seeding
    from midas.engine.distributed import join
    from midas.search import run
    from midas.search.config import SearchConfig
    from midas.spaces import get_space
    from pipeline import checkpoints, params

    space = get_space(params.value("space", str))
    config = params.section("search", SearchConfig)
    folder = paths.search(seed)
    genotype = run.fixed_genotype(space, config, paths.GENOTYPE)
    if genotype is not None:
        run.write_empty_search(folder)
        facts = {"searched": "nothing: search.genotype names a cell", "cell": genotype.hash[:12]}
        return Summary("search", {f"seed {seed}": facts}, folder)
    if launch.launch("search", str(seed)):
        return None
    seeding.deterministic()
    inputs = [paths.DATA / "train.safetensors", paths.DATA / "meta.json"]
    train = load_split(inputs[0])
    meta = load_meta(inputs[1])
    checkpoints.check_data(meta)
    keys = {"space": space.name, "search": config.model_dump()}
    checkpoint = checkpoints.checkpoint("search", seed, keys, inputs)
    monitor = search_monitor(space.without(config.exclude), meta, config)
    with join() as distributed:
        result = run.run_search(space, config, train, meta, seed, checkpoint, distributed, monitor)
        if not distributed.is_main:
            return None
        run.save_search(folder / "search.safetensors", result)
        run.save_history(folder, result.history)
        checkpoint.clear()
    last = result.history[-1]
    accuracy = last["arch_accuracy"]
    columns = {
        f"seed {seed}": {
            "method": config.method,
            "space": space.name,
            "steps": last["step"],
            "held-out accuracy": None if accuracy is None else Fact(accuracy, ".1%"),
            "skip connections": last["skips"],
            "margin": Fact(last["margin"], ".4f"),
        }
    }
    return Summary("search", columns, folder)
