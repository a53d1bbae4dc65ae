"""Cells of final networks. Each is called with the outputs of the two blocks before it.

Sources: DARTS, arXiv 1806.09055, section 3.1 and appendix; NAS-Bench-201, arXiv 2001.00326,
section 2.
"""

from typing import cast

import torch
from timm.layers import DropPath
from timm.models import register_notrace_module
from torch import Tensor, nn
from torch.nn import functional as F

from midas.genotype import CellGenotype
from midas.spaces import operations

norm = nn.BatchNorm2d  # with learned scale and shift, which supernets lack
# timm's feature extraction takes this module as a leaf: FX cannot trace its test for odd maps
register_notrace_module(operations.FactorizedReduce)


class Edge(nn.Module):
    """A chosen operation, followed by drop path unless it is the identity."""

    def __init__(self, name: str, channels: int, stride: int) -> None:
        super().__init__()
        self.operation = operations.build_operation(name, channels, stride, norm, pool_norm=False)
        is_identity = isinstance(self.operation, nn.Identity)
        self.drop_path: nn.Module = nn.Identity() if is_identity else DropPath()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, ceil(H / stride), ceil(W / stride)]."""
        y: Tensor = self.drop_path(self.operation(x))  # TorchScript knows no `cast`
        return y


class CellGraph(nn.Module):
    """The graph of a genotype; the stride is that of the edges that leave an input."""

    def __init__(self, genotype: CellGenotype, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.sources = [edge.source for edge in genotype.edges]
        self.targets = [edge.target for edge in genotype.edges]
        self.concat = list(genotype.concat)
        self.edges = nn.ModuleList(
            Edge(edge.op, channels, stride if edge.source < inputs else 1)
            for edge in genotype.edges
        )
        self.lifted = [operations.lift_relu(cast(Edge, edge).operation) for edge in self.edges]

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Map inputs [B, C, H, W] to [B, len(concat) * C, H / stride, W / stride]."""
        nodes: dict[int, Tensor] = {}  # plain loops and annotations for TorchScript
        rectified: dict[int, Tensor] = {}  # computed once for all edges that leave a node
        for index, x in enumerate(inputs):
            nodes[index] = x
        for index, edge in enumerate(self.edges):
            source = self.sources[index]
            target = self.targets[index]
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
    """A DARTS cell: two inputs brought to the same channels and size, then the graph.

    `MidasNet` rectifies both inputs. Where the last block `reduced` the map, `before` is larger.
    """

    def __init__(
        self,
        genotype: CellGenotype,
        c_before: int,
        c_previous: int,
        channels: int,
        reduction: bool,
        reduced: bool,
    ) -> None:
        super().__init__()
        self.preprocess_before: nn.Module = (
            operations.FactorizedReduce(c_before, channels, norm)
            if reduced
            else operations.relu_conv_norm(norm, c_before, channels, 1)
        )
        self.preprocess_previous = operations.relu_conv_norm(norm, c_previous, channels, 1)
        operations.lift_relu(self.preprocess_before)
        operations.lift_relu(self.preprocess_previous)
        self.graph = CellGraph(genotype, 2, channels, stride=2 if reduction else 1)

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Map the rectified outputs of two blocks to [B, len(concat) * channels, H', W']."""
        y: Tensor = self.graph([self.preprocess_before(before), self.preprocess_previous(previous)])
        return y


class BenchCell(nn.Module):
    """A NAS-Bench-201 cell. It reads the previous block alone, which has the same channels."""

    def __init__(self, genotype: CellGenotype, channels: int) -> None:
        super().__init__()
        self.graph = CellGraph(genotype, 1, channels, stride=1)

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]."""
        y: Tensor = self.graph([previous])
        return y


class BenchReduction(nn.Module):
    """The residual block between NAS-Bench-201 stages. It reads the previous block alone."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.block = operations.ResidualReduction(c_in, c_out, norm)

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Map [B, c_in, H, W] to [B, c_out, ceil(H / 2), ceil(W / 2)]."""
        y: Tensor = self.block(previous)
        return y
