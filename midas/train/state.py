"""What changes during a training, and its form in a checkpoint: tensors and plain values only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from midas.data.augment import normalise
from midas.data.prepared import DataMeta, Split
from midas.engine import seeding
from midas.nets.network import AuxiliaryHead, MidasNet
from midas.nets.timm_models import Weights
from midas.nets.whitening import Whitening
from midas.train.config import TargetConfig
from midas.train.freezing import decayed_groups, freeze

MUON_ADAMW = 0.25  # the rate of what Muon leaves to AdamW, over its own
WHITENED_IMAGES = 2000  # more change the filters by little


@dataclass
class TrainState:
    """A training between two steps."""

    network: nn.Module  # without anything that only training needs
    auxiliary: AuxiliaryHead | None
    optimiser: torch.optim.Optimizer  # of the parameters of both
    ema: ModelEmaV3 | None  # the moving average of the network's weights
    best: Weights = field(default_factory=dict)  # of the best epoch so far; empty before the first

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the moving average where there is one."""
        return self.network if self.ema is None else self.ema.module

    def modules(self) -> dict[str, nn.Module]:
        """The trained modules by name."""
        modules: dict[str, nn.Module] = {"network": self.network}
        if self.auxiliary is not None:
            modules["auxiliary"] = self.auxiliary
        return modules

    def parameters(self) -> list[nn.Parameter]:
        """All weights that are trained, the auxiliary head's included."""
        weights = (w for module in self.modules().values() for w in module.parameters())
        return [weight for weight in weights if weight.requires_grad]

    def buffers(self) -> Iterator[Tensor]:
        """Batch norm's running statistics, which differ between processes until averaged."""
        for module in self.modules().values():
            yield from (buffer for buffer in module.buffers() if buffer.is_floating_point())

    def weights(self) -> Weights:
        """A copy of the evaluated network's weights."""
        tensors = self.evaluated.state_dict().items()
        return {name: tensor.detach().cpu().clone() for name, tensor in tensors}

    def to_checkpoint(self) -> dict[str, Any]:
        """What a checkpoint keeps; no generator, as draws follow from seed, epoch and step."""
        return {
            "modules": {name: module.state_dict() for name, module in self.modules().items()},
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what `to_checkpoint` returned."""
        for name, module in self.modules().items():
            module.load_state_dict(saved["modules"][name])
        if self.ema is not None:
            self.ema.module.load_state_dict(saved["ema"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.best = saved["best"]


def new_state(network: nn.Module, config: TargetConfig, seed: int = 0) -> TrainState:
    """A training before its first epoch; it puts the network into channels_last memory."""
    network.to(memory_format=torch.channels_last)
    if config.checkpointing:
        cast(Any, network).set_grad_checkpointing(True)
    auxiliary = None
    if isinstance(network, MidasNet) and config.auxiliary_weight > 0:
        seeding.seed_torch(seed, "train", "auxiliary")
        auxiliary = AuxiliaryHead(network.auxiliary_channels, network.num_classes, config.skeleton)
        auxiliary.to(next(network.parameters())).to(memory_format=torch.channels_last)
    modules: list[nn.Module] = [network] if auxiliary is None else [network, auxiliary]
    if config.sync_batch_norm:  # in place: the same parameters under the same names
        for module in modules:
            nn.SyncBatchNorm.convert_sync_batchnorm(module)
    freeze(network, config)
    parameters: list[Any] = [p for m in modules for p in m.parameters() if p.requires_grad]
    if config.layer_decay is not None:
        parameters = decayed_groups(modules, config)
    ema = None
    if config.ema is not None:
        # the decay warms up, or a short training would keep its random start in the average
        ema = ModelEmaV3(network, decay=config.ema, use_warmup=True)
    return TrainState(network, auxiliary, build_optimiser(parameters, config), ema)


def forward(modules: Sequence[nn.Module], images: Tensor) -> list[Tensor]:
    """The logits of a network and, where one stands behind it, of its auxiliary head."""
    network, *heads = modules
    if not heads:
        return [network(images)]
    assert isinstance(network, MidasNet)
    features, auxiliary_features = network.forward_cells(images)
    return [network.forward_head(features), *(head(auxiliary_features) for head in heads)]


def set_drop_path(network: nn.Module, probability: float) -> None:
    """Set it in a network of cells; a timm model keeps what it was built with."""
    if isinstance(network, MidasNet):
        network.set_drop_path(probability)


def whiten(network: nn.Module, train: Split, meta: DataMeta) -> None:
    """Fit the whitening of a network with the ``fast`` skeleton to the first training images."""
    whitening = next(module for module in network.modules() if isinstance(module, Whitening))
    images = normalise(train.images[:WHITENED_IMAGES], meta.mean, meta.std)
    whitening.fit(images.to(whitening.filters.device))


def build_optimiser(parameters: list[Any], config: TargetConfig) -> torch.optim.Optimizer:
    """SGD or AdamW with weight decay on every parameter, as published, or Muon.

    `parameters` may be groups with a decay and a rate of their own.
    Muon makes the update of each convolution orthogonal; biases and batch norms have AdamW, at
    MUON_ADAMW of its rate. Source: K. Jordan, 2024, kellerjordan.github.io/posts/muon; timm's code.
    """
    nesterov = config.nesterov
    sgd = "sgd" if nesterov else "momentum"  # timm's "sgd" means Nesterov
    names = {"sgd": sgd, "adamw": "adamw", "muon": "nmuon" if nesterov else "muon"}
    optimiser = create_optimizer_v2(
        parameters,
        opt=names[config.optimiser],
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        **({"fallback_lr_scale": MUON_ADAMW} if config.optimiser == "muon" else {}),
    )
    return cast(torch.optim.Optimizer, optimiser)
