"""A step to be measured: forward, backward and optimiser of a search or of a training, built as the stages build it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.genotype import Genotype
from midas.nets.build import build_network
from midas.nets.registry import ZOO
from midas.runs import precision
from midas.runs.precision import Precision
from midas.runs.replay import runner
from midas.search.arms import Arm
from midas.search.bilevel import build_search
from midas.search.config import SearchConfig
from midas.spaces import get_space


@dataclass(frozen=True)
class StepCase:
    """What is measured: a search of a space by an arm, or, where `cell` names a published cell, the training of its network."""

    name: str
    arm: str = "midas"
    patch: int | None = 4
    space: str = "darts"
    cell: str | None = None
    channels: int = 16
    cells: int = 8
    size: int = 32
    batch: int = 64
    checkpointing: bool = False
    compile: bool = False  # of a training
    device: str = "cpu"
    precision: Precision = "float32"
    cuda_graphs: bool = False  # on a GPU


def build_step(case: StepCase) -> Callable[[], None]:
    """The step as a function. A search step is an architecture step and a weight step, as in `midas.search.engine`."""
    torch.manual_seed(0)
    device = torch.device(case.device)
    images, labels = random_images(case).to(device), torch.randint(0, 10, (case.batch,)).to(device)
    network, arm = build_network_and_arm(case)
    fused = device.type == "cuda" or None
    sgd = torch.optim.SGD(network.parameters(), 0.025, momentum=0.9, weight_decay=3e-4, fused=fused)

    def run(x: Tensor, y: Tensor) -> Tensor:
        with precision.lower(case.precision, device):
            loss = F.cross_entropy(network(x) if arm is None else network(x, arm)[0], y)
        loss.backward()
        return loss.detach()

    def pass_of(learner: nn.Module) -> Callable[[], Tensor]:
        alike = case.cuda_graphs and not case.compile and not case.checkpointing and (arm is None or arm.repeats)
        return partial(runner(list(learner.parameters()), device, alike), run, images, labels)

    by_weights = pass_of(network)
    if arm is None:
        return partial(_descend, network, (), sgd, by_weights)
    adam = torch.optim.Adam(arm.parameters(), 3e-4, betas=(0.5, 0.999), fused=fused)
    by_arm = pass_of(arm)

    def step() -> None:
        _descend(arm, [network], adam, by_arm)
        _descend(network, [arm], sgd, by_weights)

    return step


def _descend(
    learner: nn.Module, fixed: Sequence[nn.Module], optimiser: torch.optim.Optimizer, run: Callable[[], Tensor]
) -> None:
    """One step of an optimiser on one module, the others held fixed; `run` leaves the gradient."""
    learner.requires_grad_(True).zero_grad()
    for module in fixed:
        module.requires_grad_(False)
    run()
    nn.utils.clip_grad_norm_(learner.parameters(), 5.0)
    optimiser.step()


def build_network_and_arm(case: StepCase) -> tuple[nn.Module, Arm | None]:
    """The network, and where it is a supernet its arm."""
    if case.cell is not None:
        genotype = Genotype.from_value(ZOO[case.cell]["genotype"])
        network = build_network(genotype, num_classes=10, channels=case.channels, cells=case.cells)
        network.set_grad_checkpointing(case.checkpointing)
        if case.compile:
            for cell in network.cells:
                cell.compile()
        return network.train().to(torch.device(case.device)).to(memory_format=torch.channels_last), None
    config = SearchConfig(
        arm=case.arm,
        patch_size=case.patch,
        channels=case.channels,
        cells=case.cells,
        checkpointing=case.checkpointing,
    )
    supernet, arm = build_search(get_space(case.space).without(config.exclude), config, num_classes=10, seed=0)
    return supernet.to(case.device), arm.to(case.device)


def random_images(case: StepCase) -> Tensor:
    """[B, 3, H, W] on the CPU, in channels_last memory."""
    return torch.randn(case.batch, 3, case.size, case.size).to(memory_format=torch.channels_last)


def wait_for(device: str) -> None:
    """Until a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
