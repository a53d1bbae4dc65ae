"""What a training will cost, said before it runs: from ten steps that are timed and thrown away."""

import resource
import sys
import time
from dataclasses import dataclass

import torch

from midas.data.prepared import DataMeta, Split
from midas.nets.complexity import count_macs, count_parameters
from midas.nets.network import MidasNet
from midas.runs import seeding
from midas.runs.world import World
from midas.train.config import TargetConfig
from midas.train.schedule import size_at
from midas.train.state import new_state
from midas.train.trainer import Trainer

STEPS = 10


@dataclass(frozen=True)
class Estimate:
    """The cost of a training.

    Attributes:
        parameters: of the network, without the auxiliary head.
        macs: multiply-adds of one image, as `count_macs` counts.
        channels: the width that is trained.
        memory: bytes, the most that this process held (of the GPU where there is one).
        step_seconds: the median of the timed steps, at the full image size.
        hours: all epochs at that pace, smaller images in proportion to their pixels; validation left out.
        steps: steps of the whole training.
    """

    parameters: int
    macs: int
    channels: int
    memory: int
    step_seconds: float
    hours: float
    steps: int

    def __str__(self) -> str:
        return (
            f"{self.parameters:,} parameters at {self.channels} channels, {self.macs:,} multiply-adds an image; "
            f"{self.memory / 2**30:.2f} GiB of memory; {self.step_seconds:.3f} s a step (median of {STEPS}), "
            f"about {self.hours:.2g} hours for {self.steps:,} steps on this device, validation not counted"
        )


def estimate(
    network: MidasNet, config: TargetConfig, train: Split, meta: DataMeta, world: World | None = None
) -> Estimate:
    """Time ten steps of the recipe, after one that is not timed. The network is changed by them: throw it away.

    Drop path and image size are those of the last epoch, so that the time is of full work.

    Raises:
        DataError, ParamsError: as `train` does.
    """
    world = world or World()
    parameters, macs = count_parameters(network), count_macs(network, (3, meta.size, meta.size))
    trainer = Trainer(new_state(network, config), config, train, meta, "dry run", world)
    network.set_drop_path(config.drop_path)
    network.train()
    order = torch.randperm(len(train), generator=seeding.generator(0, "dry run"))[: config.batch_size]
    seconds = []
    for step in range(1 + STEPS):
        start = time.perf_counter()
        trainer.step(config.epochs - 1, step % trainer.steps_per_epoch, order)  # it ends with numbers on the CPU
        seconds.append(time.perf_counter() - start)
    median = sorted(seconds[1:])[STEPS // 2]
    pixels = sum((size_at(epoch, config, meta.size) / meta.size) ** 2 for epoch in range(config.epochs))
    hours = median * trainer.steps_per_epoch * pixels / 3600
    steps = trainer.steps_per_epoch * config.epochs
    return Estimate(parameters, macs, network.channels, _memory(world), median, hours, steps)


def _memory(world: World) -> int:
    """The most bytes this process has held."""
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
