"""One process of a training in float64 under torchrun: writes its losses; may be told to die in the middle of it."""

import json
import os
import sys
from pathlib import Path

import torch
from test_train_loop import GENOTYPE, META, RECIPE, TRAIN, VAL

from midas.runs import world
from midas.runs.checkpoint import Checkpoint
from midas.train import loop
from midas.train.config import TargetConfig
from midas.train.start import initial_network


def losses_of(team: world.World, accumulate: int, folder: Path, dies_at: int | None = None) -> list[float]:
    """Train 13 epochs of 4 steps; the losses of the 52 steps (of those that were run here)."""
    torch.set_num_threads(1)
    config = TargetConfig(**{**RECIPE, "epochs": 13, "drop_path": 0.2, "accumulate": accumulate})
    network = initial_network(GENOTYPE, config, 2).double()
    losses: list[float] = []
    plain = loop.Trainer.step

    def noted(self, epoch, step, *rest):
        if dies_at is not None and epoch * 4 + step == dies_at and team.rank == 1:
            os._exit(9)
        answer = plain(self, epoch, step, *rest)
        losses.append(answer[0])
        return answer

    loop.Trainer.step = noted
    try:
        result = loop.train(network, config, TRAIN, VAL, META, Checkpoint(folder / "checkpoint", "print"), world=team)
    finally:
        loop.Trainer.step = plain
    if team.writes:
        torch.save(result.last, folder / "last.pt")
    return losses


if __name__ == "__main__":
    out, dies = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None
    with world.joined() as joined:
        found = losses_of(joined, 1, out, dies)
        (out / f"losses-{joined.rank}.json").write_text(json.dumps(found))
