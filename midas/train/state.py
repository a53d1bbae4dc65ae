"""What changes during a training, and its form in a checkpoint: tensors and plain values only."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from timm.models import group_parameters
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from midas.data.augment import normalise
from midas.data.prepared import DataMeta, Split
from midas.engine import seeding
from midas.io.errors import ParamsError
from midas.nets.network import AuxiliaryHead, MidasNet
from midas.nets.skeletons import Whitening
from midas.nets.timm_models import Weights
from midas.train.config import TargetConfig

MUON_ADAMW = 0.25  # the rate of what Muon leaves to AdamW, over its own
WHITENED_IMAGES = 2000  # more change the filters by little


@dataclass
class TrainState:
    """A training between two steps."""

    modules: nn.ModuleList  # the network, and the auxiliary head where there is one
    optimiser: torch.optim.Optimizer  # of all their parameters
    ema: ModelEmaV3 | None  # the moving average of the network's weights
    best: Weights = field(default_factory=dict)  # of the best epoch so far; empty before the first

    @property
    def network(self) -> nn.Module:
        """The network, without anything that only training needs."""
        return self.modules[0]

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the moving average where there is one."""
        return self.network if self.ema is None else self.ema.module

    def parameters(self) -> list[nn.Parameter]:
        """All weights that are trained, the auxiliary head's included."""
        return [weight for weight in self.modules.parameters() if weight.requires_grad]

    def buffers(self) -> list[Tensor]:
        """Batch norm's running statistics, which differ between processes until averaged."""
        return [buffer for buffer in self.modules.buffers() if buffer.is_floating_point()]

    def weights(self) -> Weights:
        """A copy of the evaluated network's weights."""
        tensors = self.evaluated.state_dict().items()
        return {name: tensor.detach().cpu().clone() for name, tensor in tensors}

    def to_checkpoint(self) -> dict[str, Any]:
        """What a checkpoint keeps; no generator, as draws follow from seed, epoch and step."""
        return {
            "modules": self.modules.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what `to_checkpoint` returned."""
        self.modules.load_state_dict(saved["modules"])
        if self.ema is not None:
            self.ema.module.load_state_dict(saved["ema"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.best = saved["best"]


def new_state(network: nn.Module, config: TargetConfig, seed: int = 0) -> TrainState:
    """A training before its first epoch; it puts the network into channels_last memory."""
    modules = nn.ModuleList([network])
    if config.checkpointing:
        cast(Any, network).set_grad_checkpointing(True)
    if isinstance(network, MidasNet) and config.auxiliary_weight > 0:
        seeding.seed_torch(seed, "train", "auxiliary")
        auxiliary = AuxiliaryHead(network.auxiliary_channels, network.num_classes, config.skeleton)
        modules.append(auxiliary.to(next(network.parameters())))
    modules.to(memory_format=torch.channels_last)
    if config.sync_batch_norm:  # in place: the same parameters under the same names
        nn.SyncBatchNorm.convert_sync_batchnorm(modules)
    freeze(network, config)
    parameters: list[Any] = [p for p in modules.parameters() if p.requires_grad]
    if config.layer_decay is not None:
        parameters = decayed_groups(modules, config)
    ema = None
    if config.ema is not None:
        # the decay warms up, or a short training would keep its random start in the average
        ema = ModelEmaV3(network, decay=config.ema, use_warmup=True)
    return TrainState(modules, build_optimiser(parameters, config), ema)


def forward(modules: Iterable[nn.Module], images: Tensor) -> list[Tensor]:
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

    Muon (K. Jordan, 2024, kellerjordan.github.io/posts/muon) makes the update of each convolution
    orthogonal; biases and batch norms have AdamW, at MUON_ADAMW of its rate.
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


def freeze(network: nn.Module, config: TargetConfig) -> None:
    """Freeze what `config.freeze` names: ``body`` (all but the classifier), or the first layers.

    Layers are those of timm's `group_matcher`, the stem first. Raises ParamsError for too many.
    """
    if config.freeze is None:
        return
    model = cast(Any, network)
    if config.freeze == "body":
        heads = model.pretrained_cfg.get("classifier", "classifier")
        heads = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
        frozen = [name for name, _ in network.named_parameters() if not name.startswith(heads)]
    else:
        layers = group_parameters(network, model.group_matcher(coarse=False), reverse=True)
        if config.freeze > (most := max(layers.values())):  # the last one is the classifier
            raise ParamsError(f"freeze: {config.freeze} is not allowed; the body has {most} layers")
        frozen = [name for name, layer in layers.items() if layer < config.freeze]
    for name in frozen:
        network.get_parameter(name).requires_grad = False
    keep_frozen_modes(network)


def keep_frozen_modes(network: nn.Module) -> None:
    """Put every module whose parameters are all frozen into evaluation mode."""
    for module in network.modules():
        weights = list(module.parameters(recurse=False))
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def decayed_groups(modules: Iterable[nn.Module], config: TargetConfig) -> list[dict[str, Any]]:
    """timm's parameter groups, by `layer_decay`, and a plain one for an auxiliary head."""
    network, *heads = modules
    exempt = getattr(network, "no_weight_decay", None)
    groups: list[dict[str, Any]] = param_groups_layer_decay(
        network,
        config.weight_decay,
        exempt() if exempt else (),
        layer_decay=config.layer_decay or 1.0,
    )
    return groups + [{"params": list(head.parameters())} for head in heads]
