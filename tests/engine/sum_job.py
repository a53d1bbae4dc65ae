"""A small job for the training loop whose every number is known."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from midas.engine.loop import Job, Row

STEPS = 4  # of an epoch
EPOCHS = 3
Hook = Callable[[int, int], None]  # of epoch and step


class Sum(Job):
    """A job whose weight adds up the numbers of its steps, and whose loss is that weight."""

    title = "sum"
    steps_per_epoch = STEPS
    advice = "lower the sum"

    def __init__(self, before_step: Hook = lambda epoch, step: None, most: float = 1e9) -> None:
        self.weight = torch.zeros(1, dtype=torch.float64)
        self.before_step = before_step
        self.most = most
        self.steps: list[tuple[int, int]] = []
        self.begun: list[tuple[int, int]] = []

    def begin_epoch(self, epoch: int, step: int) -> None:
        self.begun.append((epoch, step))

    def step(self, epoch: int, step: int) -> Tensor:
        self.before_step(epoch, step)
        self.steps.append((epoch, step))
        self.weight += epoch * STEPS + step + 1
        return torch.tensor([2 * float(self.weight), 1.0, 2.0])

    def is_done(self, history: list[Row]) -> bool:
        return bool(history) and history[-1]["loss"] > self.most

    def state(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def restore(self, state: dict[str, Any]) -> None:
        self.weight = state["weight"]


ALL_STEPS = [(epoch, step) for epoch in range(EPOCHS) for step in range(STEPS)]


def at(epoch: int, step: int, action: Callable[[], None]) -> Hook:
    """A hook that acts before one step."""

    def hook(current_epoch: int, current_step: int) -> None:
        if (current_epoch, current_step) == (epoch, step):
            action()

    return hook
