"""The network before its first step: its width under a limit of multiply-adds, and weights to start from."""

from pathlib import Path

import torch

from midas.genotype import Genotype
from midas.nets.build import build_network
from midas.nets.complexity import count_macs
from midas.nets.network import MidasNet
from midas.runs import seeding
from midas.runs.errors import MidasError, ParamsError
from midas.train.config import TargetConfig
from midas.train.store import load_weights


def initial_network(
    genotype: Genotype, config: TargetConfig, num_classes: int, size: int | None = None, seed: int = 0
) -> MidasNet:
    """The target's network with weights that follow from the seed, or those of `start_from`.

    Args:
        genotype: the cells.
        config: the target.
        num_classes: classes.
        size: the images' side in pixels; `max_macs` needs it.
        seed: of the training.

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
    """The most channels, at most `config.channels`, that stay at or under `config.max_macs`; found by bisection.

    Raises:
        ParamsError: the narrowest network is above the limit.
    """

    def macs(channels: int) -> int:
        with torch.device("meta"):  # shapes without memory
            return count_macs(_build(genotype, config, num_classes, channels), (3, size, size))

    limit = config.max_macs or 0
    low, high = min(2, config.channels), config.channels
    if (least := macs(low)) > limit:
        raise ParamsError(f"max_macs: {limit:,} is not allowed; the narrowest network takes {least:,} at {size} pixels")
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if macs(middle) <= limit else (low, middle - 1)
    return low


def _build(genotype: Genotype, config: TargetConfig, num_classes: int, channels: int) -> MidasNet:
    """The target's network at a width."""
    return build_network(
        genotype, num_classes=num_classes, channels=channels, cells=config.cells, skeleton=config.skeleton
    )


def _start_from(network: MidasNet, path: Path) -> None:
    """Load weights; a classifier of another number of classes is left as it is."""
    weights, own = load_weights(path), network.state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        if name in weights and weights[name].shape != own[name].shape:
            weights[name] = own[name]
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        fault = " ".join(str(error).split())[:160]
        raise MidasError(f"start_from: {path}: is not of the same cell, width and depth ({fault})") from error
