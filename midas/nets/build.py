"""Build a network from a genotype, and count what it costs.

Of costs, only the multiply-adds of convolutions and linear layers count, without biases. By this
convention DARTS_V2 at ImageNet size has 529.9M; the paper prints 574M.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from midas.genotype import Genotype
from midas.io.errors import GenotypeError, ParamsError
from midas.nets.network import MidasNet
from midas.nets.skeletons import SKELETONS
from midas.spaces import Space, get_space

# limits on what a hostile config.json can make us allocate
MAX_CHANNELS = 512
MAX_CELLS = 64
MAX_CLASSES = 100_000
MAX_IN_CHANS = 1024
MAX_WEIGHTS = 2**30  # 4 GiB of float32
COUNTED = (torch.ops.aten.convolution, torch.ops.aten.addmm, torch.ops.aten.mm)
MIN_CELLS = {"darts": 2, "nasbench201": 1}  # two reductions need two cells


def build_network(
    genotype: Genotype,
    *,
    num_classes: int,
    channels: int,
    cells: int,
    skeleton: str = "cifar",
    **timm_kwargs: Any,
) -> MidasNet:
    """Build the network of a genotype, with new weights from torch's global generator.

    Args:
        num_classes: the number of classes; 0 leaves the classifier out.
        channels: channels of the first cells' nodes, e.g. 36.
        cells: the number of cells, e.g. 20, or of cells in each of NAS-Bench-201's three stages.
        skeleton: ``cifar`` or ``fast``; for DARTS cells also ``imagenet``.
        timm_kwargs: `in_chans`, `global_pool`, `drop_rate` and `drop_path_rate` of `MidasNet`.

    Raises:
        GenotypeError: the genotype does not fit its space, or an edge reads a node without inputs.
        ParamsError: a name is unknown, a number is out of range, or the network is too large.
    """
    space = get_space(genotype.space)
    space.check(genotype)
    _check_sources(space, genotype)
    if skeleton not in SKELETONS:
        raise ParamsError(f"skeleton: {skeleton!r} is unknown; known are {', '.join(SKELETONS)}")
    if space.skeleton == "nasbench201" and skeleton == "imagenet":
        problem = f"'imagenet' is for DARTS cells; a {space.name} genotype takes 'cifar' or 'fast'"
        raise ParamsError(f"skeleton: {problem}")
    _check_range("channels", channels, 2 if skeleton == "imagenet" else 1, MAX_CHANNELS)
    _check_range("cells", cells, MIN_CELLS[space.skeleton], MAX_CELLS)
    _check_range("num_classes", num_classes, 0, MAX_CLASSES)
    _check_range("in_chans", timm_kwargs.get("in_chans", 3), 1, MAX_IN_CHANS)
    _check_size(space, genotype, channels, cells, num_classes)
    timm_kwargs |= {"num_classes": num_classes, "skeleton": skeleton}
    return MidasNet(genotype, channels=channels, cells=cells, **timm_kwargs)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ParamsError(f"{name}: {value!r} is not allowed; use an integer from {low} to {high}")


def _check_size(
    space: Space, genotype: Genotype, channels: int, cells: int, num_classes: int
) -> None:
    edges = max(len(cell.edges) for cell in genotype.cells.values())
    concat = max(len(cell.concat) for cell in genotype.cells.values())
    is_bench = space.skeleton == "nasbench201"
    blocks = 3 * cells if is_bench else cells
    # a DARTS edge has at most two 1x1 convolutions; two more adapt the `concat` times wider inputs
    squares = 9 * edges if is_bench else 2 * edges + 2 * concat
    reductions = (blocks // 3, 2 * blocks // 3)
    widths = [channels * 2 ** sum(index >= at for at in reductions) for index in range(blocks)]
    weights = squares * sum(width**2 for width in widths) + num_classes * concat * widths[-1]
    if weights > MAX_WEIGHTS:
        raise ParamsError(
            f"channels {channels}, cells {cells}, {num_classes} classes: the network could have "
            f"{weights:,} weights; at most {MAX_WEIGHTS:,} are allowed"
        )


def _check_sources(space: Space, genotype: Genotype) -> None:
    for kind, cell in genotype.cells.items():
        filled = {*range(space.inputs), *(edge.target for edge in cell.edges)}
        for edge in cell.edges:
            if edge.source not in filled:
                raise GenotypeError(
                    f"genotype: cell {kind}: edge {edge.op} leaves node {edge.source}, which no "
                    "edge goes into"
                )


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_macs(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """The multiply-adds for one image of `input_size` (channels, height, width)."""
    weight = next(model.parameters())
    image = torch.zeros(1, *input_size, device=weight.device, dtype=weight.dtype)
    training = model.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.eval()(image)
    finally:
        model.train(training)
    flops = counter.get_flop_counts()["Global"]
    return sum(int(flops.get(operation, 0)) for operation in COUNTED) // 2
