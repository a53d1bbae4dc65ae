"""The supernet: every candidate of every edge, stacked as the space's skeleton says.

Batch norm has no affine part and no running statistics: a sub-network uses each batch's.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.io.errors import ParamsError
from midas.kernels.batch_norm import Chain
from midas.search.methods.base import ArchWeights, Method, NodeSpec
from midas.spaces.operations import (
    FactorizedReduce,
    ResidualReduction,
    build_operation,
    lift_relu,
    relu_conv_norm,
)
from midas.spaces.space import Space

norm = partial(nn.BatchNorm2d, affine=False, track_running_stats=False)
affine_norm = partial(nn.BatchNorm2d, track_running_stats=False)
MIN_DARTS_CELLS = 3  # a shorter stack has no normal cell


class SearchCell(nn.Module):
    """All candidates of one cell; edges from its first `stride_inputs` states have stride 2."""

    def __init__(
        self, space: Space, index: int, kind: str, channels: int, stride_inputs: int = 0
    ) -> None:
        super().__init__()
        self.concat = space.concat
        self.edge_specs = space.edges[kind]
        self.node_specs = [
            NodeSpec(index, kind, channels, k, tuple(edges))
            for k, edges in enumerate(space.nodes(kind))
        ]
        pool_norm = space.skeleton == "darts"
        self.edges = nn.ModuleList()
        for edge in self.edge_specs:
            stride = 2 if edge.source < stride_inputs else 1
            ops = [build_operation(op, channels, stride, norm, pool_norm) for op in edge.candidates]
            self.edges.append(nn.ModuleList(ops))
        # whether each candidate reads a rectified input, because its own ReLU was taken out
        self.lifted = [[lift_relu(op) for op in cast(nn.ModuleList, edge)] for edge in self.edges]

    def forward(self, states: list[Tensor], method: Method) -> tuple[Tensor, list[ArchWeights]]:
        """Input states to the output [B, C * len(concat), H, W], and the weights at each node."""
        method.begin_cell()
        states = list(states)
        cell_weights = []
        shared: dict[tuple[int, str], Tensor] = {}
        first = 0
        for node in self.node_specs:
            active = enumerate(method.active_ops(node), first)
            op_outputs = [self._op_output(k, j, states, shared) for k, ops in active for j in ops]
            inputs = [states[edge.source] for edge in node.edges]
            output, arch_weights = method.mixed_op(node, inputs, op_outputs)
            states.append(output)
            cell_weights.append(arch_weights)
            first += len(node.edges)
        joined = [states[node] for node in self.concat]
        return joined[0] if len(joined) == 1 else torch.cat(joined, dim=1), cell_weights

    def _op_output(
        self, k: int, j: int, states: Sequence[Tensor], shared: dict[tuple[int, str], Tensor]
    ) -> Tensor:
        """The output of candidate j on edge k; what has no weights is computed once an input."""
        source, _, names = self.edge_specs[k]
        operation = cast(nn.ModuleList, self.edges[k])[j]

        def share(name: str, function: Callable[[Tensor], Tensor]) -> Tensor:
            if (source, name) not in shared:
                shared[source, name] = function(states[source])
            return shared[source, name]

        if self.lifted[k][j]:
            return cast(Tensor, operation(share("relu", F.relu)))
        if names[j] == "noise" or any(True for _ in operation.parameters()):
            return cast(Tensor, operation(states[source]))
        return share(names[j], operation)


def check_depth(space: Space, cells: int, name: str) -> None:
    """Raise ParamsError, with the parameter's name, where a stack lacks a type of cell."""
    if space.skeleton == "darts" and cells < MIN_DARTS_CELLS:
        raise ParamsError(
            f"{name}: a stack of {cells} has no normal cell; use {MIN_DARTS_CELLS} or more"
        )


class Supernet(nn.Module):
    """Stem, cells, classifier. The method, which another optimiser learns, is not part of it.

    There are `cells` in all (DARTS), or in each of three stages (NAS-Bench-201).
    """

    def __init__(self, space: Space, channels: int, cells: int, num_classes: int) -> None:
        super().__init__()
        self.stem: nn.Module
        self.cells = nn.ModuleList()
        self.preprocess = nn.ModuleList()  # how each cell adapts its inputs
        self.tail: nn.Module = nn.Identity()
        # the adaptations of a DARTS cell's inputs begin with a ReLU: two cells share each output's
        is_darts = space.skeleton == "darts"
        self.rectify: nn.Module = nn.ReLU() if is_darts else nn.Identity()
        stack = self._stack_darts if is_darts else self._stack_nb201
        self.classifier = nn.Linear(stack(space, channels, cells), num_classes)

    @property
    def search_cells(self) -> list[SearchCell]:
        """The cells that are searched, without the fixed reductions between stages."""
        return [cell for cell in self.cells if isinstance(cell, SearchCell)]

    @property
    def node_specs(self) -> list[NodeSpec]:
        """Every node of every cell, in the order in which a method is asked."""
        return [node for cell in self.search_cells for node in cell.node_specs]

    def forward(self, images: Tensor, method: Method) -> tuple[Tensor, list[list[ArchWeights]]]:
        """Normalised images [B, 3, H, W] to logits [B, classes], and each search cell's weights."""
        method.begin_pass()
        x = self.stem(images)
        before = self.rectify(x)
        weights = []
        for cell, preprocess in zip(self.cells, self.preprocess, strict=True):
            if not isinstance(cell, SearchCell):  # a fixed reduction between stages
                x = cell(x)
                continue
            now = self.rectify(x)
            adaptations = cast(nn.ModuleList, preprocess)
            outputs = (before, now)[-len(adaptations) :]
            states = [adapt(y) for adapt, y in zip(adaptations, outputs, strict=True)]
            x, cell_weights = cell(states, method)
            before = now
            weights.append(cell_weights)
        pooled = F.adaptive_avg_pool2d(self.tail(x), 1).flatten(1)  # [B, C, H, W] -> [B, C]
        return self.classifier(pooled), weights

    def _stack_darts(self, space: Space, channels: int, cells: int) -> int:
        """A stem of 3 * channels, reductions at a third and two thirds. Returns the last width."""
        before = last = 3 * channels
        self.stem = Chain(nn.Conv2d(3, last, 3, padding=1, bias=False), affine_norm(last))
        reduced = False
        for index in range(cells):
            reduce = index in (cells // 3, 2 * cells // 3)
            channels = 2 * channels if reduce else channels
            if reduced:
                first: nn.Module = FactorizedReduce(before, channels, norm)
            else:
                first = relu_conv_norm(norm, before, channels, 1)
            second = relu_conv_norm(norm, last, channels, 1)
            lift_relu(first)
            lift_relu(second)
            self.preprocess.append(nn.ModuleList([first, second]))
            kind = "reduce" if reduce else "normal"
            stride_inputs = space.inputs if reduce else 0
            self.cells.append(SearchCell(space, index, kind, channels, stride_inputs))
            before = last
            last = channels * len(space.concat)
            reduced = reduce
        return last

    def _stack_nb201(self, space: Space, channels: int, cells: int) -> int:
        """Three stages of equal cells, residual reductions between. Returns the last width."""
        conv = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.stem = Chain(conv, affine_norm(channels))
        for stage in range(3):
            if stage:
                self.cells.append(ResidualReduction(channels, 2 * channels, affine_norm))
                self.preprocess.append(nn.Identity())
                channels *= 2
            for _ in range(cells):
                self.cells.append(SearchCell(space, len(self.cells), "cell", channels))
                self.preprocess.append(nn.ModuleList([nn.Identity()]))
        self.tail = Chain(affine_norm(channels), nn.ReLU())
        return channels
