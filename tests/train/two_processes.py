"""One process of a training in float64 under torchrun: it writes its losses, or dies on request."""

import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from test_train_loop import GENOTYPE, META, RECIPE, TRAIN, VAL
from torch import Tensor

from midas.engine.checkpoint import Checkpoint
from midas.engine.distributed import Distributed, join
from midas.train.config import TargetConfig
from midas.train.run import train
from midas.train.start import initial_network
from midas.train.training import Training


def losses_of(
    distributed: Distributed, accumulate: int, folder: Path, dies_at: int | None = None
) -> list[float]:
    """Train 13 epochs of 4 steps; the losses of the 52 steps (of those that were run here).

    Args:
        distributed: the processes.
        accumulate: parts that each process runs.
        folder: for checkpoints and the last weights.
        dies_at: the step, counted over epochs, at which the second process dies.
    """
    torch.set_num_threads(1)
    changes = {"epochs": 13, "drop_path": 0.2, "accumulate": accumulate}
    config = TargetConfig(**{**RECIPE, **changes})
    network = initial_network(GENOTYPE, config, 2).double()
    losses: list[float] = []
    plain_step = Training.step
    plain_metrics = Training.metrics

    def step(training: Training, epoch: int, step: int) -> Tensor:
        if epoch * 4 + step == dies_at and distributed.rank == 1:
            os._exit(9)
        return plain_step(training, epoch, step)

    def metrics(training: Training, sums: Tensor) -> dict[str, Any]:
        values = plain_metrics(training, sums)
        if sums[2] == RECIPE["batch_size"]:  # the sums of a step, not those of an epoch
            losses.append(values["loss"])
        return values

    checkpoint = Checkpoint(folder / "checkpoint", "print")
    with patch.object(Training, "step", step), patch.object(Training, "metrics", metrics):
        result = train(network, config, TRAIN, VAL, META, checkpoint, distributed=distributed)
    if distributed.is_main:
        torch.save(result.last, folder / "last.pt")
    return losses


if __name__ == "__main__":
    out = Path(sys.argv[1])
    dies_at = int(sys.argv[2]) if len(sys.argv) > 2 else None
    with join() as joined:
        losses = losses_of(joined, 1, out, dies_at)
        (out / f"losses-{joined.rank}.json").write_text(json.dumps(losses))
