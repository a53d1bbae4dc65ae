"""The network before its first step: its width and the weights that it starts from."""

from bisect import bisect_right
from pathlib import Path

import torch

from midas.engine import seeding
from midas.genotype import Genotype
from midas.io.errors import MidasError, ParamsError, reason
from midas.nets.build import build_network, count_macs
from midas.nets.network import MidasNet
from midas.train.config import TargetConfig
from midas.train.store import load_weights


def initial_network(
    genotype: Genotype,
    config: TargetConfig,
    num_classes: int,
    size: int | None = None,
    seed: int = 0,
) -> MidasNet:
    """The target's network with weights that follow from the seed, or those of `start_from`.

    `size` is the images' side in pixels, which `max_macs` needs.

    Raises:
        ParamsError: no width is narrow enough for `max_macs`; and as `build_network` does.
        MidasError: the weights to start from are missing or of another network.
    """
    channels = config.channels
    if config.max_macs is not None:
        if size is None:
            raise ParamsError("max_macs: needs the images' size")
        channels = widest(genotype, config, num_classes, size)
    seeding.seed_torch(seed, "train", "network")
    network = _build(genotype, config, num_classes, channels)
    if config.start_from is not None:
        _start_from(network, Path(config.start_from))
    return network


def widest(genotype: Genotype, config: TargetConfig, num_classes: int, size: int) -> int:
    """The most channels, at most `config.channels`, within `config.max_macs`.

    Raises ParamsError where the narrowest network is above the limit.
    """

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


def _start_from(network: MidasNet, path: Path) -> None:
    """Load weights; a classifier of another number of classes is left as it is."""
    weights = load_weights(path)
    state = network.state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        if name in weights and weights[name].shape != state[name].shape:
            weights[name] = state[name]
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise MidasError(
            f"start_from: {path}: is not of the same cell, width and depth ({reason(error)})"
        ) from error
