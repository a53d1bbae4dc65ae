"""The network before its first step: its width and the weights that it starts from."""

from bisect import bisect_right
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from midas.data.prepared import DataMeta, with_normalisation
from midas.engine import seeding
from midas.genotype import Genotype
from midas.io.errors import MidasError, ParamsError, reason
from midas.nets import timm_models
from midas.nets.build import build_network, count_macs
from midas.nets.network import MidasNet
from midas.train.config import TargetConfig, TimmTargetConfig


def start_network(
    genotype: Genotype | None, config: TargetConfig, meta: DataMeta, seed: int = 0
) -> tuple[nn.Module, DataMeta]:
    """The network of any target before its first step, and the data normalised as it takes them."""
    classes = len(meta.classes)
    seeding.seed_torch(seed, "train", "network")
    if not isinstance(config, TimmTargetConfig):
        assert genotype is not None, "a cell is trained"
        network: nn.Module = initial_network(genotype, config, classes, meta.size, seed)
    else:
        options: dict[str, Any] = {"drop_path_rate": config.drop_path} if config.drop_path else {}
        create = timm_models.create
        if config.weights is not None:
            create = partial(timm_models.create_pretrained, source=config.weights)
        network = create(config.model, num_classes=classes, size=meta.size, **options)
    image = cast(Any, network).pretrained_cfg
    return network, with_normalisation(meta, image) if config.weights and image else meta


def initial_network(
    genotype: Genotype,
    config: TargetConfig,
    num_classes: int,
    size: int | None = None,
    seed: int = 0,
) -> MidasNet:
    """The target's network, with new weights or those of `weights`; raises MidasError."""
    channels = config.channels
    if config.max_macs is not None:
        if size is None:
            raise ParamsError("max_macs: needs the images' size")
        channels = widest(genotype, config, num_classes, size)
    seeding.seed_torch(seed, "train", "network")
    network = _build(genotype, config, num_classes, channels)
    if config.weights is not None:
        _load(network, Path(config.weights))
    return network


def widest(genotype: Genotype, config: TargetConfig, num_classes: int, size: int) -> int:
    """The most channels within `max_macs`; ParamsError where the narrowest network is above it."""

    def macs(channels: int) -> int:
        with torch.device("meta"):  # shapes without memory
            return count_macs(_build(genotype, config, num_classes, channels), (3, size, size))

    limit = config.max_macs or 0
    widths = range(min(2, config.channels), config.channels + 1)
    fitting = bisect_right(widths, limit, key=macs)
    if not fitting:
        raise ParamsError(
            f"max_macs: {limit:,} is not allowed; the narrowest network takes {macs(widths[0]):,} "
            f"at {size} pixels"
        )
    return widths[fitting - 1]


def _build(genotype: Genotype, config: TargetConfig, num_classes: int, channels: int) -> MidasNet:
    return build_network(
        genotype,
        num_classes=num_classes,
        channels=channels,
        cells=config.cells,
        skeleton=config.skeleton,
    )


def _load(network: MidasNet, path: Path) -> None:
    """Load weights; a classifier of another number of classes is left as it is."""
    weights, image = timm_models.read_weights(path)
    network.pretrained_cfg.update(image)
    state = network.state_dict()
    timm_models.check_names(str(path), weights, state, ("classifier",))
    for name in ("classifier.weight", "classifier.bias"):
        if name not in weights or weights[name].shape != state[name].shape:
            weights[name] = state[name]
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise MidasError(
            f"weights: {path}: are not of the same cell, width and depth ({reason(error)})"
        ) from error
