"""Cells of final networks: the chosen operations of a genotype, and nothing of the search.

A `CellGraph` is the genotype's directed graph over inputs that already agree in channels and size. The skeletons wrap
it: DARTS cells first adapt two inputs, NAS-Bench-201 cells take one as it is. Every block of a network is called with
the outputs of the two blocks before it, so that one loop runs all skeletons.

Sources: DARTS, arXiv 1806.09055, section 3.1 and appendix; NAS-Bench-201, arXiv 2001.00326, section 2.
"""

from typing import cast

import torch
from timm.layers import DropPath
from timm.models import register_notrace_module
from torch import Tensor, nn
from torch.nn import functional as F

from midas.genotype import CellGenotype
from midas.spaces.operations import FactorizedReduce, ResidualReduction, build_operation, lift_relu, relu_conv_norm

norm = nn.BatchNorm2d  # final networks learn scale and shift, supernets do not
register_notrace_module(FactorizedReduce)  # asks whether the map is odd, which FX cannot trace: a leaf for timm's FX


class Edge(nn.Module):
    """One chosen operation, followed by drop path unless it is the plain identity."""

    def __init__(self, name: str, channels: int, stride: int) -> None:
        super().__init__()
        self.operation = build_operation(name, channels, stride, norm, pool_norm=False)
        plain = isinstance(self.operation, nn.Identity)
        self.drop_path: nn.Module = nn.Identity() if plain else DropPath()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, ceil(H/stride), ceil(W/stride)]."""
        y: Tensor = self.drop_path(self.operation(x))
        return y


class CellGraph(nn.Module):
    """The genotype's graph: each node adds up its edges, the cell joins the nodes of `concat` over channels.

    Args:
        genotype: the cell; every source of an edge is an input or a node that edges go into.
        inputs: the number of input nodes.
        channels: channels of every node.
        stride: stride of the edges that leave an input, 2 in a DARTS reduction cell.
    """

    def __init__(self, genotype: CellGenotype, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.sources = [edge.source for edge in genotype.edges]
        self.targets = [edge.target for edge in genotype.edges]
        self.concat = list(genotype.concat)
        self.edges = nn.ModuleList(
            Edge(edge.op, channels, stride if edge.source < inputs else 1) for edge in genotype.edges
        )
        self.lifted = [lift_relu(cast(Edge, edge).operation) for edge in self.edges]

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Inputs [B, C, H, W] each, to [B, len(concat) * C, H / stride, W / stride]."""
        nodes: dict[int, Tensor] = {}  # plain loops and annotations, which TorchScript can compile
        rectified: dict[int, Tensor] = {}  # once for all edges that read a node
        for index, x in enumerate(inputs):
            nodes[index] = x
        for index, edge in enumerate(self.edges):
            source, target = self.sources[index], self.targets[index]
            if self.lifted[index]:
                if source not in rectified:
                    rectified[source] = F.relu(nodes[source])
                y = edge(rectified[source])
            else:
                y = edge(nodes[source])
            nodes[target] = nodes[target] + y if target in nodes else y
        joined = [nodes[node] for node in self.concat]
        return joined[0] if len(joined) == 1 else torch.cat(joined, dim=1)


class DartsCell(nn.Module):
    """A cell of the DARTS skeletons: two rectified inputs brought to `channels` and to one size, then the graph.

    Both adaptations of an input begin with a ReLU, and two cells read each output: `MidasNet` rectifies it once for both.

    Args:
        genotype: a normal or a reduction cell.
        c_before: channels of the block before the previous one.
        c_previous: channels of the previous block.
        channels: channels of every node.
        reduction: whether the cell halves the map.
        reduced: whether the previous block halved the map, so that the one before it is twice as large.
    """

    def __init__(
        self, genotype: CellGenotype, c_before: int, c_previous: int, channels: int, reduction: bool, reduced: bool
    ) -> None:
        super().__init__()
        self.preprocess_before: nn.Module = (
            FactorizedReduce(c_before, channels, norm) if reduced else relu_conv_norm(norm, c_before, channels, 1)
        )
        self.preprocess_previous = relu_conv_norm(norm, c_previous, channels, 1)
        for adapt in (self.preprocess_before, self.preprocess_previous):
            lift_relu(adapt)
        self.graph = CellGraph(genotype, 2, channels, stride=2 if reduction else 1)

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Rectified outputs of the two blocks before, to [B, len(concat) * channels, H', W']."""
        y: Tensor = self.graph([self.preprocess_before(before), self.preprocess_previous(previous)])
        return y


class BenchCell(nn.Module):
    """A NAS-Bench-201 cell: one input of the same channels; the block before the previous one is not used."""

    def __init__(self, genotype: CellGenotype, channels: int) -> None:
        super().__init__()
        self.graph = CellGraph(genotype, 1, channels, stride=1)

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H, W]."""
        y: Tensor = self.graph([previous])
        return y


class BenchReduction(nn.Module):
    """The residual block between NAS-Bench-201 stages; the block before the previous one is not used."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.block = ResidualReduction(c_in, c_out, norm)

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """[B, c_in, H, W] to [B, c_out, ceil(H/2), ceil(W/2)]."""
        y: Tensor = self.block(previous)
        return y
