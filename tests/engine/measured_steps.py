"""Steps of a search or of a training whose peak memory is measured beside its estimate."""

import resource
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.engine.memory import keep_freed
from midas.genotype import Genotype
from midas.nets.build import build_network
from midas.search.config import SearchConfig
from midas.search.run import build_search, search_bytes
from midas.spaces import get_space
from midas.train.config import TargetConfig
from midas.train.run import train_bytes
from midas.train.state import new_state
from midas.zoo.registry import ZOO

STATUS = Path("/proc/self/status")


def measure(
    space: str = "darts",
    method: str = "midas",
    patch_size: int | None = 4,
    cell: str | None = None,
    channels: int = 16,
    cells: int = 8,
    size: int = 32,
    batch: int = 64,
) -> tuple[int, int]:
    """Bytes of resident memory that two steps take above the imports, and the estimate.

    Args:
        space: the space that is searched.
        method: how.
        patch_size: as in `SearchConfig`, as are the next three.
        cell: a published cell whose network is trained; None measures a search.
        channels: of the first cells.
        cells: the depth.
        size: of the images in pixels.
        batch: images of a step.
    """
    if cell is not None:
        keep_freed()  # as the stage does
    if STATUS.is_file():
        Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is resident now
    before = _peak()
    if cell is None:
        config = SearchConfig(method=method, patch_size=patch_size, channels=channels, cells=cells)
        estimate, steps = _build_search(space, config)
    else:
        estimate, steps = _build_training(cell, channels, cells)
    images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    for step in [*steps, *steps]:
        step(images, labels)
    return _peak() - before, estimate(size, batch)


Estimate = Callable[[int, int], int]  # bytes, from the images' size and the batch
Step = Callable[[Tensor, Tensor], None]


def _build_search(space: str, config: SearchConfig) -> tuple[Estimate, Sequence[Step]]:
    """The estimate, and an architecture step and a weight step."""
    supernet, method = build_search(get_space(space).without(config.exclude), config, 10, seed=0)
    sgd = torch.optim.SGD(supernet.parameters(), 0.025, momentum=0.9)
    adam = torch.optim.Adam(method.parameters(), 3e-4)

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(supernet(images, method)[0], labels)

    return partial(search_bytes, supernet, method), [
        partial(_descend, method, supernet, adam, loss),
        partial(_descend, supernet, method, sgd, loss),
    ]


def _build_training(cell: str, channels: int, cells: int) -> tuple[Estimate, Sequence[Step]]:
    """The estimate, and a step of a training without the auxiliary head."""
    genotype = Genotype.from_value(ZOO[cell]["genotype"])
    network = build_network(genotype, num_classes=10, channels=channels, cells=cells).train()
    config = TargetConfig(auxiliary_weight=0)
    state = new_state(network, config)

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(network(images), labels)

    step = partial(_descend, network, None, state.optimiser, loss)
    return partial(train_bytes, state), [step]


def _descend(
    learner: nn.Module,
    fixed: nn.Module | None,
    optimiser: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
) -> None:
    """A step of one module while the other is held fixed."""
    learner.requires_grad_(True).zero_grad()
    if fixed is not None:
        fixed.requires_grad_(False)
    loss(images, labels).backward()
    nn.utils.clip_grad_norm_(learner.parameters(), 5.0)
    optimiser.step()


def _peak() -> int:
    """The largest resident set so far in bytes; on Linux since it was last cleared."""
    if STATUS.is_file():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
