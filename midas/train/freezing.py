"""Fine-tuning: which parameters are trained, and how their rates fall with the depth."""

from collections.abc import Sequence
from typing import Any, cast

from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import nn

from midas.io.errors import ParamsError
from midas.train.config import TargetConfig


def freeze(network: nn.Module, config: TargetConfig) -> None:
    """Take what `config.freeze` names out of the training: ``body``, or the first layers.

    The body is all but the classifier. Layers are those of timm's `group_matcher`, the stem first.
    Batch norms in a frozen part keep their statistics from `keep_frozen_modes` on. Raises
    ParamsError where the network has no more layers than that.
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


def decayed_groups(modules: Sequence[nn.Module], config: TargetConfig) -> list[dict[str, Any]]:
    """timm's parameter groups: the rate is `layer_decay` times smaller in each layer further down.

    In them biases and norms have no weight decay. An auxiliary head behind the network has a plain
    group.
    """
    network, *heads = modules
    exempt = getattr(network, "no_weight_decay", None)
    groups: list[dict[str, Any]] = param_groups_layer_decay(
        network,
        config.weight_decay,
        exempt() if exempt else (),
        layer_decay=config.layer_decay or 1.0,
    )
    return groups + [{"params": list(head.parameters())} for head in heads]
