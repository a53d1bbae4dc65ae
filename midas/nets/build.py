"""From a genotype to a network, with every input checked before a weight is allocated."""

from typing import Any

from midas.genotype import Genotype
from midas.nets.network import MidasNet
from midas.nets.skeletons import SKELETONS
from midas.runs.errors import GenotypeError, ParamsError
from midas.spaces import Space, get_space

# what a hostile config.json can make us allocate
MAX_CHANNELS, MAX_CELLS, MAX_CLASSES, MAX_IN_CHANS = 512, 64, 100_000, 1024
MAX_WEIGHTS = 2**30  # 4 GiB of float32
MIN_CELLS = {"darts": 2, "nasbench201": 1}  # two reductions need two cells


def build_network(
    genotype: Genotype, *, num_classes: int, channels: int, cells: int, skeleton: str = "cifar", **timm_kwargs: Any
) -> MidasNet:
    """The network of a genotype, with fresh weights from torch's global generator.

    Args:
        genotype: a cell of a space that this project knows.
        num_classes: classes; 0 leaves the classifier out.
        channels: channels of the first cells' nodes, e.g. 36.
        cells: cells in all, e.g. 20 (DARTS skeletons), or in each of three stages, e.g. 5 (NAS-Bench-201).
        skeleton: ``cifar`` or ``imagenet``; a NAS-Bench-201 genotype takes ``cifar`` only.
        timm_kwargs: `in_chans`, `global_pool`, `drop_rate`, `drop_path_rate` of `MidasNet`.

    Raises:
        GenotypeError: the genotype is no cell of its space, or an edge reads a node that has no value.
        ParamsError: an unknown space or skeleton, a number out of range, or a network of more than `MAX_WEIGHTS`.
    """
    space = get_space(genotype.space)
    space.check(genotype)
    _check_sources(space, genotype)
    if skeleton not in SKELETONS:
        raise ParamsError(f"skeleton: {skeleton!r} is not known; known are {', '.join(SKELETONS)}")
    if space.skeleton == "nasbench201" and skeleton != "cifar":
        raise ParamsError(f"skeleton: {skeleton!r} is for DARTS cells; a {space.name} genotype takes 'cifar'")
    _check_range("channels", channels, 1 if skeleton == "cifar" else 2, MAX_CHANNELS)
    _check_range("cells", cells, MIN_CELLS[space.skeleton], MAX_CELLS)
    _check_range("num_classes", num_classes, 0, MAX_CLASSES)
    _check_range("in_chans", timm_kwargs.get("in_chans", 3), 1, MAX_IN_CHANS)
    _check_weights(space, genotype, channels, cells, num_classes)
    return MidasNet(genotype, channels=channels, cells=cells, skeleton=skeleton, num_classes=num_classes, **timm_kwargs)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    """Raise ParamsError unless `value` is a whole number from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise ParamsError(f"{name}: {value!r} is not allowed; it is a whole number from {low} to {high}")


def _check_weights(space: Space, genotype: Genotype, channels: int, cells: int, num_classes: int) -> None:
    """Raise ParamsError for a network of absurd size, from an upper estimate of its weights, before there is one."""
    edges = max(len(cell.edges) for cell in genotype.cells.values())
    concat = max(len(cell.concat) for cell in genotype.cells.values())
    if space.skeleton == "nasbench201":
        reductions, row, kernels = (cells, 2 * cells), 3 * cells, 9 * edges
    else:  # an edge has at most two 1x1 convolutions; two more adapt the inputs, which are `concat` times as wide
        reductions, row, kernels = (cells // 3, 2 * cells // 3), cells, 2 * edges + 2 * concat
    widths = [channels * 2 ** sum(index >= at for at in reductions) for index in range(row)]
    weights = kernels * sum(width**2 for width in widths) + num_classes * concat * widths[-1]
    if weights > MAX_WEIGHTS:
        raise ParamsError(
            f"channels {channels}, cells {cells}, {num_classes} classes: such a network can have {weights:,} weights; "
            f"at most {MAX_WEIGHTS:,} are allowed"
        )


def _check_sources(space: Space, genotype: Genotype) -> None:
    """Raise GenotypeError where an edge leaves an intermediate node that no edge goes into."""
    for kind, cell in genotype.cells.items():
        filled = {*range(space.inputs), *(edge.target for edge in cell.edges)}
        for edge in cell.edges:
            if edge.source not in filled:
                raise GenotypeError(
                    f"genotype: cell {kind}: edge {edge.op} leaves node {edge.source}, which no edge goes into"
                )
