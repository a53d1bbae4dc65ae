"""The supernet: every candidate of every edge, stacked as the space's skeleton says; an arm weighs them node by node.

Batch norm in a supernet has no affine part and no running statistics: a mean over candidates has no use for its own
scale, and a decoded sub-network would need its statistics recalibrated anyway, which is what batch statistics do.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from midas.runs.errors import ParamsError
from midas.search.arms.base import Arm, Choice, NodeSite
from midas.search.mixture import weighted_sum
from midas.spaces.norm import Chain
from midas.spaces.operations import FactorizedReduce, ResidualReduction, build_operation, lift_relu, relu_conv_norm
from midas.spaces.space import Space

norm = partial(nn.BatchNorm2d, affine=False, track_running_stats=False)
affine_norm = partial(nn.BatchNorm2d, track_running_stats=False)
MIN_DARTS_CELLS = 3  # of fewer all are reductions


class SearchCell(nn.Module):
    """All candidates of one cell.

    Args:
        space: whose edges and candidates it has.
        index: which cell of the stack.
        kind: its type, e.g. ``normal``.
        channels: channels of its nodes.
        stride_inputs: the number of input nodes whose edges have stride 2 (all of them in a reduction cell).
        partial: 1/partial of the channels pass through the candidates, the rest go by them (PC-DARTS, arXiv 1907.05737).
    """

    def __init__(
        self, space: Space, index: int, kind: str, channels: int, stride_inputs: int = 0, partial: int = 1
    ) -> None:
        super().__init__()
        self.concat, self.partial, self.mixed = space.concat, partial, channels // partial
        self.strides = [2 if source < stride_inputs else 1 for source in range(max(space.concat) + 1)]
        self.sites = [NodeSite(index, kind, self.mixed, k, tuple(edges)) for k, edges in enumerate(space.nodes(kind))]
        pool_norm = space.skeleton == "darts"
        self.edges = nn.ModuleList(
            nn.ModuleList(
                build_operation(name, self.mixed, self.strides[edge.source], norm, pool_norm)
                for name in edge.candidates
            )
            for edge in space.edges[kind]
        )
        self.lifted = [[lift_relu(operation) for operation in cast(nn.ModuleList, edge)] for edge in self.edges]

    def forward(self, states: list[Tensor], arm: Arm) -> tuple[Tensor, list[Choice]]:
        """Input states to the joined output [B, C * len(concat), H, W] and the weights used, node by node."""
        arm.begin_cell()
        states, choices, first = list(states), [], 0
        mixed = [state[:, : self.mixed] if self.partial > 1 else state for state in states]
        shared: dict[tuple[int, str], Tensor] = {}
        for site in self.sites:
            maps = list(self._maps(site, first, arm.wanted(site), mixed, shared))
            output, choice = arm.mix(site, [mixed[edge.source] for edge in site.edges], maps)
            if self.partial > 1:
                output = self._with_bypass(output, site, states, choice)
            states.append(output)
            mixed.append(output[:, : self.mixed] if self.partial > 1 else output)
            choices.append(choice)
            first += len(site.edges)
        joined = [states[node] for node in self.concat]
        return joined[0] if len(joined) == 1 else torch.cat(joined, dim=1), choices

    def _with_bypass(self, output: Tensor, site: NodeSite, states: Sequence[Tensor], choice: Choice) -> Tensor:
        """Join the channels that went by the candidates, each edge's by its weight, and shuffle channels."""
        rest = []
        for edge in site.edges:
            x = states[edge.source][:, self.mixed :]
            rest.append(F.max_pool2d(x, 2, 2, ceil_mode=True) if self.strides[edge.source] == 2 else x)
        ones = output.new_ones(1, 1, 1, len(rest))
        patch = None if choice.m is None else choice.patch
        joined = torch.cat([output, weighted_sum(rest, ones if choice.m is None else choice.m, patch)], dim=1)
        batch, channels, height, width = joined.shape
        grouped = joined.view(batch, self.partial, channels // self.partial, height, width)  # [B, K, C/K, H, W]
        return grouped.transpose(1, 2).reshape(batch, channels, height, width)

    def _maps(
        self,
        site: NodeSite,
        first: int,
        wanted: Sequence[Sequence[int]],
        states: Sequence[Tensor],
        shared: dict[tuple[int, str], Tensor],
    ) -> Iterator[Tensor]:
        """The wanted candidate maps of a node. What has no weights depends on the input alone and is computed once: whole
        candidates, and the ReLU that others start with.
        """
        for k, (edge, candidates) in enumerate(zip(site.edges, wanted, strict=True)):
            operations = cast(nn.ModuleList, self.edges[first + k])
            for j in candidates:
                name, operation = edge.candidates[j], operations[j]
                if self.lifted[first + k][j]:
                    if (edge.source, "relu") not in shared:
                        shared[edge.source, "relu"] = F.relu(states[edge.source])
                    yield operation(shared[edge.source, "relu"])
                    continue
                if name == "noise" or any(True for _ in operation.parameters()):
                    yield operation(states[edge.source])
                    continue
                if (edge.source, name) not in shared:
                    shared[edge.source, name] = operation(states[edge.source])
                yield shared[edge.source, name]


def check_depth(space: Space, cells: int, name: str) -> None:
    """Raise ParamsError, with the parameter's name, where a stack of so many cells does not hold every type of them."""
    if space.skeleton == "darts" and cells < MIN_DARTS_CELLS:
        raise ParamsError(f"{name}: {cells} make a stack with no normal cell; it takes {MIN_DARTS_CELLS} or more")


class Supernet(nn.Module):
    """Stem, cells, classifier. The arm is not part of it: weights and architecture are learned by different optimisers."""

    def __init__(self, space: Space, channels: int, cells: int, num_classes: int, partial: int = 1) -> None:
        super().__init__()
        self.partial = partial
        self.checkpointing = False  # keep the cells' inputs alone and compute the rest again
        self.stem: nn.Module
        self.cells = nn.ModuleList()
        self.preprocess = nn.ModuleList()  # how each cell adapts its inputs
        self.tail: nn.Module = nn.Identity()
        # both adaptations of a DARTS cell's inputs begin with a ReLU: each output passes one for the two cells that read it
        self.rectify: nn.Module = nn.ReLU() if space.skeleton == "darts" else nn.Identity()
        width = (
            self._stack_darts(space, channels, cells)
            if space.skeleton == "darts"
            else self._stack_nb201(space, channels, cells)
        )
        self.classifier = nn.Linear(width, num_classes)

    @property
    def sites(self) -> list[NodeSite]:
        """Every node of every cell, in the order in which an arm is asked."""
        return [site for cell in self.cells if isinstance(cell, SearchCell) for site in cell.sites]

    def forward(self, images: Tensor, arm: Arm) -> tuple[Tensor, list[list[Choice]]]:
        """Normalised images [B, 3, H, W] to logits [B, classes] and, for each search cell, the weights its nodes used."""
        arm.begin_pass()
        x = self.stem(images)
        before, choices = self.rectify(x), []
        for cell, preprocess in zip(self.cells, self.preprocess, strict=True):
            if not isinstance(cell, SearchCell):  # a fixed reduction between stages
                x = cell(x)
                continue
            run = partial(self._run, cell, cast(nn.ModuleList, preprocess), arm)
            again = self.checkpointing and self.training and torch.is_grad_enabled()
            now = self.rectify(x)
            x, used = checkpoint(run, before, now, use_reentrant=False) if again else run(before, now)
            before = now
            choices.append(used)
        pooled = F.adaptive_avg_pool2d(self.tail(x), 1).flatten(1)  # [B, C, H, W] -> [B, C]
        return self.classifier(pooled), choices

    @staticmethod
    def _run(
        cell: SearchCell, adapt: nn.ModuleList, arm: Arm, before: Tensor, x: Tensor
    ) -> tuple[Tensor, list[Choice]]:
        """One cell on the outputs of the two before it, as many of them as it reads."""
        states = [module(state) for module, state in zip(adapt, (before, x)[-len(adapt) :], strict=True)]
        found: tuple[Tensor, list[Choice]] = cell(states, arm)
        return found

    def _stack_darts(self, space: Space, channels: int, cells: int) -> int:
        """DARTS: stem of 3 * channels, reduction cells at a third and two thirds. Returns the classifier's width."""
        width = 3 * channels
        self.stem = Chain(nn.Conv2d(3, width, 3, padding=1, bias=False), affine_norm(width))
        before, last, reduced = width, width, False
        for index in range(cells):
            reduce = index in (cells // 3, 2 * cells // 3)
            channels = 2 * channels if reduce else channels
            first = FactorizedReduce(before, channels, norm) if reduced else relu_conv_norm(norm, before, channels, 1)
            self.preprocess.append(nn.ModuleList([first, relu_conv_norm(norm, last, channels, 1)]))
            for adapt in cast(nn.ModuleList, self.preprocess[-1]):
                lift_relu(adapt)
            kind = "reduce" if reduce else "normal"
            self.cells.append(SearchCell(space, index, kind, channels, space.inputs if reduce else 0, self.partial))
            before, last, reduced = last, channels * len(space.concat), reduce
        return last

    def _stack_nb201(self, space: Space, channels: int, cells: int) -> int:
        """NAS-Bench-201: three stages of equal cells, residual reductions between. Returns the classifier's width."""
        self.stem = Chain(nn.Conv2d(3, channels, 3, padding=1, bias=False), affine_norm(channels))
        for stage in range(3):
            if stage:
                self.cells.append(ResidualReduction(channels, 2 * channels, affine_norm))
                self.preprocess.append(nn.Identity())
                channels *= 2
            for k in range(cells):
                self.cells.append(SearchCell(space, stage * (cells + 1) + k, "cell", channels, 0, self.partial))
                self.preprocess.append(nn.ModuleList([nn.Identity()]))
        self.tail = Chain(affine_norm(channels), nn.ReLU())
        return channels
