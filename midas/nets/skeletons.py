"""How cells are stacked: stems and blocks of the published skeletons, and of a fast one."""

from typing import NamedTuple

from torch import nn

from midas.genotype import Genotype
from midas.kernels.batch_norm import Chain
from midas.nets.cells import BenchCell, BenchReduction, DartsCell, norm
from midas.nets.whitening import Whitening

STEM_MULTIPLIER = 3  # channels of the CIFAR stem, over those of the cells' nodes (DARTS)
SKELETONS = ("cifar", "imagenet", "fast")


class Block(NamedTuple):
    """A module, its output channels, and by how much its map is smaller than the image."""

    module: nn.Module
    channels: int
    reduction: int


class Skeleton(NamedTuple):
    """A network without its head. Each block reads the two before it."""

    stem0: Block
    stem1: Block  # the identity where there is only one stem
    blocks: list[Block]
    auxiliary: int  # the index of the block whose output an auxiliary head reads
    rectify: nn.Module  # applied to an output once, before any block reads it
    norm: nn.Module  # applied to the last output


def _conv_norm(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), norm(c_out)]


def _cifar_stem(in_chans: int, channels: int) -> tuple[Block, Block]:
    stem = Block(Chain(*_conv_norm(in_chans, channels, 1)), channels, 1)
    return stem, Block(nn.Identity(), channels, 1)


def _imagenet_stem(in_chans: int, channels: int) -> tuple[Block, Block]:
    """Three convolutions of stride 2; the first cell reads the outputs of the last two."""
    half = channels // 2
    stem0 = Chain(*_conv_norm(in_chans, half, 2), nn.ReLU(), *_conv_norm(half, channels, 2))
    stem1 = Chain(nn.ReLU(), *_conv_norm(channels, channels, 2))
    return Block(stem0, channels, 4), Block(stem1, channels, 8)


def _fast_stem(in_chans: int, channels: int) -> tuple[Block, Block]:
    """Whitened patches, a convolution, and a map of half the size, where cells cost a quarter."""
    whitening = Whitening(in_chans)
    conv, batch_norm = _conv_norm(whitening.out_chans, channels, 1)
    stem = nn.Sequential(whitening, conv, nn.MaxPool2d(2, ceil_mode=True), batch_norm)
    return Block(stem, channels, 2), Block(nn.Identity(), channels, 2)


def darts(genotype: Genotype, channels: int, cells: int, skeleton: str, in_chans: int) -> Skeleton:
    """The ``cifar`` or ``imagenet`` skeleton of DARTS, or ``cifar`` with the fast stem.

    The cells after one and two thirds are reductions: they halve the map and double the channels.
    """
    if skeleton == "imagenet":
        stems = _imagenet_stem(in_chans, channels)
    else:
        make_stem = _fast_stem if skeleton == "fast" else _cifar_stem
        stems = make_stem(in_chans, STEM_MULTIPLIER * channels)
    row = [*stems]
    for index in range(cells):
        before, previous = row[-2:]
        reduction = index in (cells // 3, 2 * cells // 3)
        factor = 2 if reduction else 1
        channels *= factor
        cell = genotype.cells["reduce" if reduction else "normal"]
        reduced = before.reduction != previous.reduction
        module = DartsCell(cell, before.channels, previous.channels, channels, reduction, reduced)
        row.append(Block(module, len(cell.concat) * channels, previous.reduction * factor))
    auxiliary = 2 * cells // 3
    return Skeleton(*stems, row[2:], auxiliary, rectify=nn.ReLU(), norm=nn.Identity())


def nasbench201(
    genotype: Genotype, channels: int, cells: int, skeleton: str, in_chans: int
) -> Skeleton:
    """The NAS-Bench-201 skeleton: three stages of `cells` cells with reductions between them.

    It begins with its published stem, ``cifar``, or with the fast one.
    """
    stems = (_fast_stem if skeleton == "fast" else _cifar_stem)(in_chans, channels)
    blocks: list[Block] = []
    for stage in range(3):
        width = channels * 2**stage
        reduction = stems[0].reduction * 2**stage
        modules: list[nn.Module] = [BenchReduction(width // 2, width)] if stage > 0 else []
        modules += [BenchCell(genotype.cells["cell"], width) for _ in range(cells)]
        blocks += [Block(module, width, reduction) for module in modules]
    last = Chain(norm(width), nn.ReLU())
    return Skeleton(*stems, blocks, 2 * cells + 1, rectify=nn.Identity(), norm=last)
