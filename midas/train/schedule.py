"""The optimiser and what changes from step to step: timm's optimisers and schedules, and DARTS's drop path."""

from collections.abc import Iterable
from typing import cast

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler, PolyLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import nn

from midas.train.config import TargetConfig

ONECYCLE_WARMUP = 0.3  # share of the steps in which the rate rises
WARMUP_START = 25  # the rate starts at this part of the largest one


def build_optimiser(parameters: Iterable[nn.Parameter], config: TargetConfig) -> torch.optim.Optimizer:
    """SGD or AdamW with weight decay on every parameter, batch norm and biases included, as published."""
    sgd = "sgd" if config.nesterov else "momentum"  # timm's "sgd" means Nesterov
    optimiser = create_optimizer_v2(
        list(parameters),
        opt=sgd if config.optimiser == "sgd" else config.optimiser,
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    return cast(torch.optim.Optimizer, optimiser)


def build_scheduler(optimiser: torch.optim.Optimizer, config: TargetConfig, steps_per_epoch: int) -> Scheduler:
    """The learning rate as a function of the step alone: call `step_update(step)` before each step, counted from 0.

    Step t of T, of which the first W warm up, has the rate ``rate/25 + t/W * (rate - rate/25)`` for t < W, and then
    ``min + (rate - min) * (1 + cos(pi (t - W) / (T - W))) / 2``, or ``min + (rate - min) * (T - t) / (T - W)`` for
    ``linear``.
    """
    total = config.epochs * steps_per_epoch
    warmup = config.warmup_epochs * steps_per_epoch
    if config.schedule == "onecycle":
        warmup = int(total * ONECYCLE_WARMUP)
    kind, extra = (PolyLRScheduler, {"power": 1.0}) if config.schedule == "linear" else (CosineLRScheduler, {})
    return kind(
        optimiser,
        t_initial=total - warmup,
        lr_min=config.min_learning_rate,
        warmup_t=warmup,
        warmup_lr_init=config.learning_rate / WARMUP_START,
        warmup_prefix=True,
        t_in_epochs=False,
        **extra,
    )


def drop_path_at(epoch: int, config: TargetConfig) -> float:
    """The drop-path probability of an epoch counted from 0: 0 in the first, then linearly towards `drop_path`."""
    return config.drop_path * epoch / config.epochs


def size_at(epoch: int, config: TargetConfig, size: int) -> int:
    """The side of the training images in an epoch counted from 0.

    With `start_size` it grows linearly, in steps of 4 pixels, to the full `size`, which the last third of the epochs has:
    early epochs cost a fraction of the time. Without it, it is `size` throughout.
    """
    if config.start_size is None or config.start_size >= size:
        return size
    growing = config.epochs - 1 - config.epochs // 3
    share = min(1.0, epoch / growing) if growing else 1.0
    if share >= 1:
        return size  # which need not be a multiple of 4
    grown = config.start_size + share * (size - config.start_size)
    return min(size, round(grown / 4) * 4)
