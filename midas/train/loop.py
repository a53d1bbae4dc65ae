"""The training loop: steps, epochs, checkpoints, and what comes out.

Source of the recipe: DARTS, arXiv 1806.09055, section 3.2 and appendix; PROTOCOLS.md section 4.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from midas.data.augment import Augment
from midas.data.batches import epoch_batches
from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.nets.build import build_network
from midas.nets.complexity import count_macs, count_parameters
from midas.nets.network import MidasNet
from midas.runs import seeding
from midas.runs.checkpoint import Checkpoint
from midas.runs.errors import TrainingDiverged
from midas.runs.progress import Reporter, progress
from midas.train.config import TargetConfig
from midas.train.evaluate import evaluate
from midas.train.schedule import build_scheduler, drop_path_at, size_at
from midas.train.state import TrainState, Weights, new_state


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
    """

    best: Weights
    last: Weights
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    cost: dict[str, float]


def initial_network(genotype: Genotype, config: TargetConfig, num_classes: int) -> MidasNet:
    """The target's network with weights that follow from its seed; raises as `build_network` does."""
    seeding.seed_torch(config.seed, "train", "network")
    return build_network(
        genotype, num_classes=num_classes, channels=config.channels, cells=config.cells, skeleton=config.skeleton
    )


def train(
    network: MidasNet,
    config: TargetConfig,
    train: Split,
    val: Split,
    meta: DataMeta,
    checkpoint: Checkpoint | None = None,
    title: str = "train",
) -> TrainResult:
    """Train a network, or go on where a checkpoint stands: the end is the same, bit for bit.

    Args:
        network: as `initial_network` makes it; it is trained in place.
        config: the recipe.
        train: the training images.
        val: the validation images, which choose the best epoch.
        meta: classes and normalisation statistics of the data.
        checkpoint: where the state is kept after each epoch.
        title: what the progress display and errors call it.

    Raises:
        TrainingDiverged: a loss is not a number; the checkpoint holds the last good epoch.
        DataError: the training images do not fill one batch.
    """
    trainer = _Trainer(new_state(network, config), config, train, meta, title)
    state = trainer.state
    if checkpoint and (saved := checkpoint.load()):
        state.restore(saved)
    done, steps = len(state.history), trainer.steps_per_epoch
    with progress(title, config.epochs * steps, done * steps) as report:
        for epoch in range(done, config.epochs):
            start = time.monotonic()
            row = trainer.epoch(epoch, report)
            row["val_loss"], row["val_accuracy"] = (round(value, 6) for value in evaluate(state.judged, val, meta))
            _keep(state, row, time.monotonic() - start)
            if checkpoint:
                checkpoint.save(state.to_checkpoint())
            report.note(_line(row, config.epochs), row, judge="val_accuracy")
    return _result(state, config, meta)


class _Trainer:
    """One training's parts, and one epoch of it."""

    def __init__(self, state: TrainState, config: TargetConfig, train: Split, meta: DataMeta, title: str) -> None:
        self.state, self.config, self.train, self.title = state, config, train, title
        self.augment = Augment(config.augment, meta.mean, meta.std)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
        self.steps_per_epoch = len(self._batches(0))
        self.scheduler = build_scheduler(state.optimiser, config, self.steps_per_epoch)

    def _batches(self, epoch: int) -> list[Tensor]:
        """The epoch's batches; full ones only, since batch norm cannot train on a single image."""
        return epoch_batches(len(self.train), self.config.batch_size, self.config.seed, epoch, drop_last=True)

    def epoch(self, epoch: int, report: Reporter) -> dict[str, Any]:
        """One pass over the training images; returns the row of the history, without validation."""
        self.state.network.set_drop_path(drop_path_at(epoch, self.config))
        self.state.network.train()
        loss_sum, hits, seen, rates = 0.0, 0, 0, []
        for step, index in enumerate(self._batches(epoch)):
            self.scheduler.step_update(epoch * self.steps_per_epoch + step)
            rates.append(self.state.optimiser.param_groups[0]["lr"])
            loss, right = self._step(epoch, step, index)
            loss_sum, hits, seen = loss_sum + loss * len(index), hits + right, seen + len(index)
            report.step(loss=loss, accuracy=hits / seen)
        means = {"train_loss": round(loss_sum / seen, 6), "train_accuracy": round(hits / seen, 6)}
        return {"epoch": epoch + 1, "learning_rate": round(rates[0], 10), **means}

    def _step(self, epoch: int, step: int, index: Tensor) -> tuple[float, int]:
        """One step of the optimiser; returns the main loss and the number of images classified correctly."""
        state, labels = self.state, self.train.labels[index]
        seeding.seed_torch(self.config.seed, "train", epoch, step)  # drop path draws from here
        draws = seeding.generator(self.config.seed, "augment", epoch, step)
        images = self.augment(self.train.images[index], draws)
        if (size := size_at(epoch, self.config, images.shape[-1])) < images.shape[-1]:
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        loss, total, logits = self._loss(images, labels)
        if not math.isfinite(total.item()):
            raise TrainingDiverged(self._diverged(epoch, step))
        state.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(list(state.parameters()), self.config.clip)
        state.optimiser.step()
        if state.ema is not None:
            state.ema.update(state.network, step=epoch * self.steps_per_epoch + step + 1)
        return loss.item(), int((logits.argmax(1) == labels).sum())

    def _loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The main loss, the loss with the auxiliary head's share, and the logits [B, classes]."""
        features, auxiliary_features = self.state.network.forward_cells(images)
        logits = self.state.network.forward_head(features)
        loss: Tensor = self.criterion(logits, labels)
        if self.state.auxiliary is None:
            return loss, loss, logits
        auxiliary = self.criterion(self.state.auxiliary(auxiliary_features), labels)
        return loss, loss + self.config.auxiliary_weight * auxiliary, logits

    def _diverged(self, epoch: int, step: int) -> str:
        """What a person reads when the loss is no number any more."""
        kept = f"the checkpoint of epoch {epoch} is kept" if epoch else "there is no checkpoint yet"
        return (
            f"{self.title}: the loss is not a number at epoch {epoch + 1}, step {step + 1}; {kept}; "
            f"lower learning_rate ({self.config.learning_rate}) or clip ({self.config.clip})"
        )


def _keep(state: TrainState, row: dict[str, Any], seconds: float) -> None:
    """Add a finished epoch, and its weights where it is the best so far."""
    if not state.history or row["val_accuracy"] >= max(old["val_accuracy"] for old in state.history):
        state.best = state.weights()
    state.history.append(row)
    state.seconds.append(seconds)


def _line(row: dict[str, Any], epochs: int) -> str:
    """An epoch in one line."""
    return (
        f"epoch {row['epoch']}/{epochs} loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.3f} | "
        f"validation loss {row['val_loss']:.3f} accuracy {row['val_accuracy']:.4f}"
    )


def _result(state: TrainState, config: TargetConfig, meta: DataMeta) -> TrainResult:
    """The finished training."""
    best = max(reversed(state.history), key=lambda row: row["val_accuracy"])  # the last of equals
    metrics = {
        "best_epoch": best["epoch"],
        "best_val_accuracy": best["val_accuracy"],
        "last_val_accuracy": state.history[-1]["val_accuracy"],
        "epochs": len(state.history),
        "parameters": count_parameters(state.network),
        "macs": count_macs(state.network, (3, meta.size, meta.size)),
        "seed": config.seed,
    }
    total = sum(state.seconds)
    cost = {"seconds": round(total, 3), "seconds_per_epoch": round(total / len(state.seconds), 3)}
    return TrainResult(state.best, state.weights(), state.history, metrics, cost)
