"""What a training will cost, from ten steps that are timed and thrown away."""

import time
from bisect import bisect_right
from dataclasses import dataclass

from torch import nn

from midas.data.prepared import DataMeta, Split
from midas.engine import memory
from midas.engine.distributed import ALONE, Distributed
from midas.genotype import Genotype
from midas.nets.build import count_macs, count_parameters
from midas.train.config import TargetConfig
from midas.train.distillation import Teacher
from midas.train.start import initial_network
from midas.train.state import set_drop_path
from midas.train.training import Training

STEPS = 10
TRAINED_SHARE = 0.92  # of `minutes`; the rest is for validation and start
WIDTH_STEP = 8  # between the widths that `minutes` compares


@dataclass(frozen=True)
class Estimate:
    """The cost of a training."""

    parameters: int  # of the network, without the auxiliary head
    macs: int  # of one image
    channels: int | None  # the width that is trained; a timm model has its own
    memory: int  # bytes, the most that this process held (of the GPU where there is one)
    step_seconds: float  # the median of the timed steps, at the full image size
    hours: float  # smaller images in proportion to their pixels; without validation
    steps: int  # of the whole training

    def __str__(self) -> str:
        width = f" at {self.channels} channels" if self.channels else ""
        return (
            f"{self.parameters:,} parameters{width}, {self.macs:,} "
            f"multiply-adds an image; {self.memory / 2**30:.2f} GiB of memory; "
            f"{self.step_seconds:.3f} s a step (median of {STEPS}), about {self.hours:.2g} hours "
            f"for {self.steps:,} steps on this device, validation not counted"
        )


def estimate(
    network: nn.Module,
    config: TargetConfig,
    train: Split,
    meta: DataMeta,
    distributed: Distributed = ALONE,
    teacher: Teacher | None = None,
) -> Estimate:
    """Time ten steps at full drop path and image size; the network is of no use afterwards."""
    parameters = count_parameters(network)
    macs = count_macs(network, (3, meta.size, meta.size))
    training = Training(network, config, train, train, meta, "dry run", distributed, 0, teacher)
    last = config.epochs - 1
    training.begin_epoch(last, step=0)
    set_drop_path(network, config.drop_path)
    seconds = []
    for step in range(1 + STEPS):
        start = time.perf_counter()
        training.step(last, step % training.steps_per_epoch).cpu()  # a GPU has then finished
        seconds.append(time.perf_counter() - start)
    median = sorted(seconds[1:])[STEPS // 2]
    sizes = [config.size_at(epoch, meta.size) for epoch in range(config.epochs)]
    epochs = sum((size / meta.size) ** 2 for size in sizes)  # of full-sized images
    hours = median * training.steps_per_epoch * epochs / 3600
    steps = training.steps_per_epoch * config.epochs
    channels = getattr(network, "channels", None)
    return Estimate(
        parameters, macs, channels, memory.peak(distributed.device), median, hours, steps
    )


def fit_minutes(
    genotype: Genotype,
    config: TargetConfig,
    train: Split,
    meta: DataMeta,
    teacher: Teacher | None = None,
) -> TargetConfig:
    """The configuration whose training takes `config.minutes` on this machine, by timed steps.

    It is the widest, at most `channels`, that has time for the epochs of `config`; at the narrowest
    width there may be fewer.
    """
    if config.minutes is None:
        return config
    limit = config.minutes * TRAINED_SHARE / 60

    def hours(channels: int) -> float:
        narrowed = config.model_copy(update={"channels": channels})
        network = initial_network(genotype, narrowed, len(meta.classes), meta.size)
        return estimate(network, narrowed, train, meta, ALONE, teacher).hours

    widths = range(min(WIDTH_STEP, config.channels), config.channels + 1, WIDTH_STEP)
    width = widths[max(0, bisect_right(widths, limit, key=hours) - 1)]
    epochs = max(1, int(config.epochs * limit / hours(width)))
    chosen = {"channels": width, "epochs": epochs, "minutes": None}
    warmup_epochs = min(config.warmup_epochs, epochs - 1)
    return config.model_copy(update={**chosen, "warmup_epochs": warmup_epochs})
