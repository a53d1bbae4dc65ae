"""A final training from start to end. Its steps are in `midas.train.training`."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.data.prepared import DataMeta, Split
from midas.engine import loop, memory
from midas.engine.checkpoint import Checkpoint
from midas.engine.distributed import ALONE, Distributed
from midas.nets.build import count_macs, count_parameters
from midas.nets.network import MidasNet
from midas.nets.timm_models import Weights
from midas.train.config import TargetConfig
from midas.train.distillation import Teacher
from midas.train.state import TrainState, forward
from midas.train.training import Training


@dataclass(frozen=True)
class TrainResult:
    """What a training leaves."""

    best: Weights  # of the best validation accuracy; of equal epochs the last, with the lowest rate
    last: Weights
    history: list[dict[str, Any]]  # a row for each epoch (`Training.end_epoch`)
    metrics: dict[str, Any]  # numbers that two runs share
    cost: dict[str, float]  # seconds, which two runs do not share
    data: str  # the fingerprint of the training data


def train(
    network: nn.Module,
    config: TargetConfig,
    train: Split,
    val: Split,
    meta: DataMeta,
    checkpoint: Checkpoint | None = None,
    title: str = "train",
    distributed: Distributed = ALONE,
    seed: int = 0,
    teacher: Teacher | None = None,
) -> TrainResult:
    """Train a network, or go on where a checkpoint stands: the end is the same, bit for bit.

    Each of several processes runs its part of every batch; all have the same state after each step.

    Args:
        network: as `start_network` makes it; it is trained in place.
        val: the validation images, which choose the best epoch.
        teacher: what the network learns from beside the labels.
        seed: everything random follows from it and from epoch, step and part.

    Raises:
        TrainingDiverged: a loss is not a number; the checkpoint holds the last good state.
        DataError: the training images do not fill one batch.
        ParamsError: the batch cannot be divided, or batch norm not be synchronised.
        MidasError: a step would not fit into memory, or the training was interrupted.
    """
    parameters = count_parameters(network)  # before some are frozen
    training = Training(network, config, train, val, meta, title, distributed, seed, teacher)
    if not config.checkpointing:  # which takes less than the estimate
        size = train.images.shape[-1]
        part = config.batch_size // training.total_parts()
        narrower = f"or channels ({network.channels}) " if isinstance(network, MidasNet) else ""
        memory.check(
            title,
            train_bytes(training.train_state, size, part * config.replicas),
            distributed.device,
            f"make batch_size ({config.batch_size}) {narrower}smaller, "
            f"accumulate ({config.accumulate}) larger, or set checkpointing: true",
        )
    finished = loop.run(training, config.epochs, checkpoint, distributed)
    history = finished.history
    best = max(reversed(history), key=training.score)
    metrics = {
        "best_epoch": best["epoch"],
        "best_score": training.score(best),  # by `select_by`: compares seeds
        "best_val_accuracy": best["val_accuracy"],
        "best_val_balanced_accuracy": best["val_balanced_accuracy"],
        "last_val_accuracy": history[-1]["val_accuracy"],
        "epochs": len(history),
        "channels": getattr(network, "channels", None),  # a timm model has its own
        "mean": list(meta.mean),
        "std": list(meta.std),
        "parameters": parameters,
        "macs": count_macs(network, (3, meta.size, meta.size)),
        "precision": training.precision,
        "seed": seed,
    }
    total = sum(finished.seconds)
    cost = {"seconds": round(total, 3), "seconds_per_epoch": round(total / len(history), 3)}
    state = training.train_state
    return TrainResult(state.best, state.weights(), history, metrics, cost, meta.fingerprint)


def train_bytes(state: TrainState, size: int, batch: int) -> int:
    """The most bytes that a step of `batch` images of `size` pixels holds, by a pass of two."""
    modules = copy.deepcopy(state.modules).train()

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        outputs = forward(modules, images)
        return torch.stack([F.cross_entropy(logits, labels) for logits in outputs]).sum()

    return memory.step_bytes(loss, size, batch, list(modules.parameters()))
