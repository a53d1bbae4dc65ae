"""The training loop: epochs, checkpoints, and what comes out. Its steps are in `midas.train.trainer`."""

import time
from dataclasses import dataclass
from typing import Any

from midas.data.prepared import DataMeta, Split
from midas.nets.complexity import count_macs, count_parameters
from midas.nets.network import MidasNet
from midas.runs import interrupt
from midas.runs.checkpoint import Checkpoint
from midas.runs.errors import MidasError
from midas.runs.progress import progress
from midas.runs.world import World
from midas.train.config import TargetConfig
from midas.train.evaluate import evaluate
from midas.train.memory import check_memory
from midas.train.state import TrainState, Weights, new_state
from midas.train.trainer import Trainer


@dataclass(frozen=True)
class TrainResult:
    """What a training leaves.

    Attributes:
        best: the weights of the epoch with the best validation accuracy, the last of equals, which has the lowest learning rate.
        last: the weights of the last epoch.
        history: a row for each epoch: epoch (from 1), learning_rate (of its first step), train_loss, train_accuracy,
            val_loss, val_accuracy; accuracies in [0, 1].
        metrics: the result in numbers that two runs share.
        cost: seconds, which they do not.
        data: the fingerprint of the data that was learned from.
    """

    best: Weights
    last: Weights
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    cost: dict[str, float]
    data: str


def train(
    network: MidasNet,
    config: TargetConfig,
    train: Split,
    val: Split,
    meta: DataMeta,
    checkpoint: Checkpoint | None = None,
    title: str = "train",
    world: World | None = None,
    seed: int = 0,
) -> TrainResult:
    """Train a network, or go on where a checkpoint stands: the end is the same, bit for bit.

    Under several processes each runs its part of every batch; their gradients and batch norm statistics are averaged,
    so that all have the same state after each step, and rank 0 keeps it. SIGTERM and SIGINT take effect after the step.

    Args:
        network: as `initial_network` makes it; it is trained in place.
        config: the recipe.
        train: the training images.
        val: the validation images, which choose the best epoch.
        meta: classes and normalisation statistics of the data.
        checkpoint: where the state is kept after each epoch, after each minute, and when a signal arrives.
        title: what the progress display and errors call it.
        world: the processes that train together; this one alone by default.
        seed: everything random in the training follows from it, and from where it is: epoch, step, part.

    Raises:
        TrainingDiverged: a loss is not a number; the checkpoint holds the last good state.
        DataError: the training images do not fill one batch.
        ParamsError: the batch cannot be divided among the processes, or batch norm be synchronised between CPUs.
        MidasError: a step would not fit into memory.
        ProcessLost: another process of the run has ended.
    """
    world = world or World()
    trainer = Trainer(new_state(network, config, seed), config, train, meta, title, world)
    state = trainer.state
    check_memory(state, config, train.images.shape[-1], world, title)
    if checkpoint and (saved := checkpoint.load()):
        state.restore(saved)

    def save() -> None:
        if checkpoint and world.writes:
            checkpoint.save(state.to_checkpoint())

    steps = trainer.steps_per_epoch
    done = len(state.history) * steps + state.step
    with (
        progress(title, config.epochs * steps, done, quiet=not world.writes) as report,
        interrupt.held() as interruption,
    ):
        for epoch in range(len(state.history), config.epochs):
            if _patience_is_over(state, config):
                break
            start = time.monotonic()
            row = trainer.epoch(epoch, report, save, interruption)
            if row is None:
                break
            judged = evaluate(state.judged, val, meta, world)
            row["val_loss"], row["val_accuracy"] = (round(value, 6) for value in judged)
            _keep(state, row, time.monotonic() - start)
            save()
            report.note(_line(row, config.epochs), row, judge="val_accuracy")
    if interruption.number is not None:
        raise MidasError(f"{title}: interrupted; the checkpoint holds every finished step: run it again to go on")
    return _result(state, config, meta)


def _keep(state: TrainState, row: dict[str, Any], seconds: float) -> None:
    """Add a finished epoch, and its weights where it is the best so far."""
    if not state.history or row["val_accuracy"] >= max(old["val_accuracy"] for old in state.history):
        state.best = state.weights()
    state.history.append(row)
    state.seconds.append(seconds)
    state.step, state.sums = 0, [0.0, 0.0, 0.0]


def _best(state: TrainState) -> dict[str, Any]:
    """The row of the best epoch, the last of equals."""
    return max(reversed(state.history), key=lambda row: row["val_accuracy"])


def _patience_is_over(state: TrainState, config: TargetConfig) -> bool:
    """Whether as many epochs as `patience` have passed since the best one."""
    if config.patience is None or not state.history:
        return False
    first = max(state.history, key=lambda row: row["val_accuracy"])  # of equals: another as good is no better one
    return len(state.history) - int(first["epoch"]) >= config.patience


def _line(row: dict[str, Any], epochs: int) -> str:
    """An epoch in one line."""
    return (
        f"epoch {row['epoch']}/{epochs} loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.3f} | "
        f"validation loss {row['val_loss']:.3f} accuracy {row['val_accuracy']:.4f}"
    )


def _result(state: TrainState, config: TargetConfig, meta: DataMeta) -> TrainResult:
    """The finished training."""
    best = _best(state)
    metrics = {
        "best_epoch": best["epoch"],
        "best_val_accuracy": best["val_accuracy"],
        "last_val_accuracy": state.history[-1]["val_accuracy"],
        "epochs": len(state.history),
        "channels": state.network.channels,
        "parameters": count_parameters(state.network),
        "macs": count_macs(state.network, (3, meta.size, meta.size)),
        "seed": state.seed,
    }
    total = sum(state.seconds)
    cost = {"seconds": round(total, 3), "seconds_per_epoch": round(total / len(state.seconds), 3)}
    return TrainResult(state.best, state.weights(), state.history, metrics, cost, meta.fingerprint)
