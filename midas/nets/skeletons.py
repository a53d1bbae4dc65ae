"""How cells are stacked: stems and blocks of the published skeletons, and of a fast one."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.genotype import Genotype
from midas.kernels.batch_norm import Chain
from midas.nets.cells import BenchCell, BenchReduction, DartsCell, norm

STEM_MULTIPLIER = 3  # channels of the CIFAR stem, over those of the cells' nodes (DARTS)
SKELETONS = ("cifar", "imagenet", "fast")
SIDE = 2  # of a whitened patch in pixels
EPSILON = 5e-4  # added to the variances, so that noise is not blown up


class Whitening(nn.Module):
    """A convolution with outputs uncorrelated over 2x2 patches, then a ReLU; it is not trained.

    Each filter stands twice, with both signs, because the ReLU keeps one of them: maps
    [B, in_chans, H, W] to [B, 8 in_chans, H, W]. Sources: hlb-CIFAR10 (T. Hayes, 2022), and
    airbench, arXiv 2404.00498, section 3.2.
    """

    filters: Tensor

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        size = in_chans * SIDE**2
        self.out_chans = 2 * size
        pixels = torch.eye(size).view(size, in_chans, SIDE, SIDE)
        self.register_buffer("filters", torch.cat([pixels, -pixels]))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Set the filters to scaled eigenvectors of the patches' second moments."""
        size = self.out_chans // 2
        patches = F.unfold(images.float(), SIDE).transpose(1, 2).reshape(-1, size).double()
        variances, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        # columns to filters: [size, size] -> [size, in_chans, 2, 2]
        filters = (vectors / (variances + EPSILON).sqrt()).T.reshape(-1, *self.filters.shape[1:])
        self.filters.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        """See the class. A row and a column of zeros at the end keep height and width."""
        return F.relu(F.conv2d(F.pad(x, (0, 1, 0, 1)), self.filters))


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
    """The skeletons of DARTS, with reductions after one and two thirds of the cells."""
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
    """The skeleton of NAS-Bench-201: three stages of `cells` cells with reductions between them."""
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
