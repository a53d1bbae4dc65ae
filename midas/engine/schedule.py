"""The learning rate of every training: timm's schedules as a function of the step alone."""

from typing import Literal

import torch
from timm.scheduler import CosineLRScheduler, PolyLRScheduler
from timm.scheduler.scheduler import Scheduler

ScheduleName = Literal["cosine", "linear", "onecycle"]
ONECYCLE_WARMUP = 0.3  # share of the steps in which the rate of `onecycle` rises
WARMUP_START = 25  # the rate starts at this part of the largest one


def build_scheduler(
    optimiser: torch.optim.Optimizer,
    total: int,  # steps of the whole training
    min_rate: float = 0.0,
    warmup: int = 0,  # steps
    schedule: ScheduleName = "cosine",
) -> Scheduler:
    """A scheduler whose `step_update(t)` sets the rate of step t, counted from 0.

    With the optimiser's rate r, T = `total` and W = `warmup`, the rate is r/25 + t/W (r - r/25) for
    t < W, and then min + (r - min) (1 + cos(pi (t - W) / (T - W))) / 2, or min + (r - min) (T - t)
    / (T - W) for ``linear``. ``onecycle`` is a cosine with a long warm-up of its own.
    """
    if schedule == "onecycle":
        warmup = int(total * ONECYCLE_WARMUP)
    kind = PolyLRScheduler if schedule == "linear" else CosineLRScheduler
    return kind(
        optimiser,
        t_initial=total - warmup,
        lr_min=min_rate,
        warmup_t=warmup,
        warmup_lr_init=optimiser.param_groups[0]["lr"] / WARMUP_START,
        warmup_prefix=True,
        t_in_epochs=False,
        **({"power": 1.0} if schedule == "linear" else {}),
    )
