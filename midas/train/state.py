"""Everything that changes during a training, and its form in a checkpoint: tensors and plain values only."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from midas.nets.auxiliary import AuxiliaryHead
from midas.nets.network import MidasNet
from midas.runs import seeding
from midas.train.config import TargetConfig
from midas.train.schedule import build_optimiser

Weights = dict[str, Tensor]


@dataclass
class TrainState:
    """A training between two steps.

    Attributes:
        network: the network itself, without anything that only training needs.
        auxiliary: the auxiliary head, or None.
        optimiser: of the parameters of both.
        ema: the moving average of the network's weights, or None.
        seed: everything random in the training follows from it.
        history: one row for each finished epoch.
        best: the weights of the best epoch so far, empty before the first.
        seconds: what each finished epoch took; no result depends on it.
        step: how many steps of the epoch after them are done.
        sums: loss times images, images classified correctly, images, over those steps.
    """

    network: MidasNet
    auxiliary: AuxiliaryHead | None
    optimiser: torch.optim.Optimizer
    ema: ModelEmaV3 | None
    seed: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: Weights = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept: the moving average where there is one."""
        return self.network if self.ema is None else self.ema.module

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights that are trained, the auxiliary head's included."""
        for module in self._modules().values():
            yield from module.parameters()

    def buffers(self) -> Iterator[Tensor]:
        """Batch norm's running statistics, which differ between processes until they are averaged."""
        for module in self._modules().values():
            yield from (buffer for buffer in module.buffers() if buffer.is_floating_point())

    def weights(self) -> Weights:
        """A copy of the judged network's weights."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.judged.state_dict().items()}

    def to_checkpoint(self) -> dict[str, Any]:
        """What a checkpoint keeps. No generator is in it: draws follow from the seed, the epoch and the step."""
        return {
            "modules": {name: module.state_dict() for name, module in self._modules().items()},
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
            "best": self.best,
            "seconds": self.seconds,
            "step": self.step,
            "sums": self.sums,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what `to_checkpoint` gave."""
        for name, module in self._modules().items():
            module.load_state_dict(saved["modules"][name])
        if self.ema is not None:
            self.ema.module.load_state_dict(saved["ema"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.history, self.best, self.seconds = list(saved["history"]), saved["best"], list(saved["seconds"])
        self.step, self.sums = saved["step"], list(saved["sums"])

    def _modules(self) -> dict[str, nn.Module]:
        """The trained modules by name."""
        modules: dict[str, nn.Module] = {"network": self.network}
        if self.auxiliary is not None:
            modules["auxiliary"] = self.auxiliary
        return modules


def new_state(network: MidasNet, config: TargetConfig, seed: int = 0) -> TrainState:
    """A training before its first epoch; the network is put into channels_last memory. Its device and type are kept."""
    network.to(memory_format=torch.channels_last).set_grad_checkpointing(config.checkpointing)
    auxiliary = None
    if config.auxiliary_weight > 0:
        seeding.seed_torch(seed, "train", "auxiliary")
        auxiliary = AuxiliaryHead(network.auxiliary_channels, network.num_classes, config.skeleton)
        auxiliary.to(next(network.parameters())).to(memory_format=torch.channels_last)
    modules: list[nn.Module] = [network] if auxiliary is None else [network, auxiliary]
    if config.sync_batch_norm:  # in place: the same parameters under the same names
        for module in modules:
            nn.SyncBatchNorm.convert_sync_batchnorm(module)
    parameters = [parameter for module in modules for parameter in module.parameters()]
    # the decay warms up, or a short training would keep its random start in the average
    ema = None if config.ema is None else ModelEmaV3(network, decay=config.ema, use_warmup=True)
    return TrainState(network, auxiliary, build_optimiser(parameters, config), ema, seed)
