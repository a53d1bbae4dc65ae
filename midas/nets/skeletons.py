"""How cells are stacked: the stems and the row of blocks of the CIFAR, ImageNet and NAS-Bench-201 skeletons.

A skeleton is two stem modules (the second is the identity where there is one stem) and a list of blocks, each with its
output channels and its reduction, the factor by which its map is smaller than the image.
"""

from typing import NamedTuple

from torch import nn

from midas.genotype import Genotype
from midas.nets.cells import BenchCell, BenchReduction, DartsCell, norm
from midas.spaces.norm import Chain

STEM_MULTIPLIER = 3  # channels of the CIFAR stem over the cells' (DARTS)
SKELETONS = ("cifar", "imagenet")


class Block(NamedTuple):
    """A block of the row, with what it puts out."""

    module: nn.Module
    channels: int
    reduction: int


class Skeleton(NamedTuple):
    """A network without its head.

    `auxiliary` is the index of the block whose output an auxiliary head reads; `rectify` is what each block's output passes
    before blocks read it, once for all of them.
    """

    stem0: Block
    stem1: Block
    blocks: list[Block]
    auxiliary: int
    rectify: nn.Module
    norm: nn.Module


def _conv_norm(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
    """A 3x3 convolution and its batch norm."""
    return [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), norm(c_out)]


def _cifar_stem(in_chans: int, channels: int) -> tuple[Block, Block]:
    """One convolution at full size; both inputs of the first cell are its output."""
    stem = Block(Chain(*_conv_norm(in_chans, channels, 1)), channels, 1)
    return stem, Block(nn.Identity(), channels, 1)


def _imagenet_stem(in_chans: int, channels: int) -> tuple[Block, Block]:
    """Three convolutions of stride 2, 224 to 28; the first cell reads the second's and the third's outputs."""
    half = channels // 2
    stem0 = Chain(*_conv_norm(in_chans, half, 2), nn.ReLU(), *_conv_norm(half, channels, 2))
    stem1 = Chain(nn.ReLU(), *_conv_norm(channels, channels, 2))
    return Block(stem0, channels, 4), Block(stem1, channels, 8)


def _darts_blocks(genotype: Genotype, stem0: Block, stem1: Block, channels: int, cells: int) -> list[Block]:
    """The row of DARTS cells; two of them halve the map and double the channels."""
    row = [stem0, stem1]
    for index in range(cells):
        before, previous = row[-2:]
        reduction = index in (cells // 3, 2 * cells // 3)
        channels = channels * 2 if reduction else channels
        cell = genotype.cells["reduce" if reduction else "normal"]
        reduced = before.reduction != previous.reduction
        module = DartsCell(cell, before.channels, previous.channels, channels, reduction, reduced)
        row.append(Block(module, len(cell.concat) * channels, previous.reduction * (2 if reduction else 1)))
    return row[2:]


def darts(genotype: Genotype, channels: int, cells: int, skeleton: str, in_chans: int) -> Skeleton:
    """The CIFAR or ImageNet skeleton of DARTS: `cells` cells in all, reductions after a third and two thirds."""
    if skeleton == "imagenet":
        stems = _imagenet_stem(in_chans, channels)
    else:
        stems = _cifar_stem(in_chans, STEM_MULTIPLIER * channels)
    blocks = _darts_blocks(genotype, *stems, channels, cells)
    return Skeleton(*stems, blocks, auxiliary=2 * cells // 3, rectify=nn.ReLU(), norm=nn.Identity())


def nasbench201(genotype: Genotype, channels: int, cells: int, in_chans: int) -> Skeleton:
    """The NAS-Bench-201 skeleton: three stages of `cells` cells, residual reductions between them."""
    stems = _cifar_stem(in_chans, channels)
    blocks: list[Block] = []
    for stage in range(3):
        width = channels * 2**stage
        if stage > 0:
            blocks.append(Block(BenchReduction(width // 2, width), width, 2**stage))
        blocks += [Block(BenchCell(genotype.cells["cell"], width), width, 2**stage) for _ in range(cells)]
    last = Chain(norm(width), nn.ReLU())
    return Skeleton(*stems, blocks, auxiliary=2 * cells + 1, rectify=nn.Identity(), norm=last)
