"""Stage `search@seed`: find one cell. Reads the training images; writes weights and history of one seed."""

from pipeline import launch, layout
from pipeline.names import Seed


def command(seed: Seed) -> None:
    """Search one seed: a bilevel search of the space in params.yaml; goes on from a checkpoint where there is one."""
    if _given(seed) or launch.launched("search", str(seed)):
        return
    from midas.data.prepared import load_meta, load_split
    from midas.runs import seeding, world
    from midas.runs.summary import Fact, summarise
    from midas.search.bilevel import run_search
    from midas.search.config import SearchConfig
    from midas.search.store import save_history, save_search
    from midas.spaces import get_space
    from pipeline import params, stage

    seeding.deterministic()
    space, config = get_space(params.value("space", str)), params.section("search", SearchConfig)
    inputs = [layout.DATA / "train.safetensors", layout.DATA / "meta.json"]
    train, meta = load_split(inputs[0]), load_meta(inputs[1])
    stage.check_data(meta)
    checkpoint = stage.checkpoint("search", seed, {"space": space.name, "search": config.model_dump()}, inputs)
    folder = layout.SEARCH / f"seed-{seed}"
    with world.joined() as team:
        result = run_search(space, config, train, meta, seed, checkpoint, team)
        if not team.writes:
            return
        save_search(folder / "search.safetensors", result)
        save_history(folder, result.history)
        checkpoint.clear()
    last = result.history[-1]
    facts = {
        "arm": config.arm,
        "space": space.name,
        "steps": last["step"],
        "held-out accuracy": None if last["arch_accuracy"] is None else Fact(last["arch_accuracy"], ".1%"),
        "skip connections": last["skips"],
        "margin": Fact(last["margin"], ".4f"),
    }
    summarise("search", {f"seed {seed}": facts}, folder)


def _given(seed: int) -> bool:
    """Whether the parameters name a cell; then what a search leaves is written, with nothing in it."""
    from midas.runs.summary import summarise
    from midas.search.config import SearchConfig
    from midas.search.given import given_genotype, leave_empty
    from midas.spaces import get_space
    from pipeline import params

    config, folder = params.section("search", SearchConfig), layout.SEARCH / f"seed-{seed}"
    genotype = given_genotype(get_space(params.value("space", str)), config, layout.GENOTYPE)
    if genotype is None:
        return False
    leave_empty(folder)
    facts = {"searched": "nothing: search.genotype names a cell", "cell": genotype.hash[:12]}
    summarise("search", {f"seed {seed}": facts}, folder)
    return True
