"""The bilevel search from start to end: supernet and arm, epochs, checkpoints. Its steps are in `midas.search.engine`."""

from typing import Any, NamedTuple

import torch

from midas.data.prepared import DataMeta, Split
from midas.runs import seeding
from midas.runs.checkpoint import Checkpoint
from midas.runs.progress import progress
from midas.runs.world import World
from midas.search.arms import Arm, build_arm
from midas.search.config import SearchConfig
from midas.search.engine import Engine
from midas.search.halves import Halves
from midas.search.memory import check_memory
from midas.search.supernet import Supernet, check_depth
from midas.spaces.space import Space


class SearchResult(NamedTuple):
    """What a search leaves: its weights and its history, one row an epoch."""

    supernet: Supernet
    arm: Arm
    history: list[dict[str, Any]]


def build_search(space: Space, config: SearchConfig, num_classes: int, seed: int) -> tuple[Supernet, Arm]:
    """A fresh supernet and arm whose initial weights follow from the seed.

    Raises:
        ParamsError: the stack is too short to hold every type of cell.
    """
    check_depth(space, config.cells, "search.cells")
    seeding.seed_torch(seed, "search", "weights")
    supernet = Supernet(space, config.channels, config.cells, num_classes, config.partial)
    supernet.checkpointing = config.checkpointing
    supernet.to(memory_format=torch.channels_last)
    seeding.seed_torch(seed, "search", "arm")
    return supernet, build_arm(space, supernet.sites, config)


def run_search(
    space: Space,
    config: SearchConfig,
    train: Split,
    meta: DataMeta,
    seed: int,
    checkpoint: Checkpoint | None = None,
    world: World | None = None,
) -> SearchResult:
    """Search one seed.

    Args:
        space: what may be found; `config.exclude` is taken out of it here.
        config: the arm and its hyper-parameters.
        train: the training images; half of them train the weights, half the architecture.
        meta: classes and normalisation statistics of the data.
        seed: everything random follows from it.
        checkpoint: where the state is kept after each epoch; a run that finds one there goes on from it.
        world: the processes that search together, this one alone by default; each runs its part of every batch, and
            their gradients are averaged.

    Raises:
        ParamsError: a batch cannot be divided so, or second order is asked of several parts.
        MidasError: a step would not fit into memory.
        ProcessLost: another process of the run has ended.
        TrainingDiverged: a loss is not a number; the checkpoint holds the last good epoch.
    """
    space, world = space.without(config.exclude), world or World()
    supernet, arm = build_search(space, config, len(meta.classes), seed)
    supernet.to(world.device)
    arm.to(world.device)
    engine = Engine(space, supernet, arm, config, Halves(train, config), meta, seed, world)
    check_memory(supernet, arm, config, engine.halves, world, f"search seed {seed}")
    first, history = engine.restore(checkpoint.load() if checkpoint else None)
    steps = engine.steps_per_epoch
    with progress(f"search seed {seed}", config.epochs * steps, first * steps, quiet=not world.writes) as report:
        for epoch in range(first, config.epochs):
            if config.stop_at_skips and history and _collapsed(history[-1], config.stop_at_skips):
                report.note(f"stopped after epoch {epoch}: {history[-1]['skips']} skips (search.stop_at_skips)")
                break
            row = engine.epoch(epoch, report)
            history.append(row)
            if checkpoint and world.writes:
                checkpoint.save(engine.state(history))
            learned = row["arch_accuracy"]
            held_out = "weights alone" if learned is None else f"held-out {learned:.3f}"
            report.note(
                f"epoch {epoch + 1}/{config.epochs} loss {row['weight_loss']:.3f} accuracy {row['weight_accuracy']:.3f} | "
                f"{held_out} | skips {row['skips']} "
                f"margin {row['margin']:.4f} gap {row['supernet_accuracy'] - row['subnetwork_accuracy']:.3f}",
                row,
                judge="" if learned is None else "arch_accuracy",
            )
    return SearchResult(supernet, arm, history)


def _collapsed(row: dict[str, Any], limit: int) -> bool:
    """Whether an epoch's cell has too many skips; before the architecture learns its cell is the toss of the first weights."""
    return row["arch_accuracy"] is not None and row["skips"] >= limit
