"""The kernels of node.c on tensors."""

import ctypes
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from midas.native.library import library

_LONGS = (
    *("batch", "height", "width", "channels", "patch", "count", "edges", "most", "size"),
    *("pairs", "normalise", "by_sample", "by_patch", "threads"),
)
_POINTERS = (
    *("first", "own", "maps", "inputs", "query", "bias", "key", "total", "weights", "a", "pi", "m"),
    *("by_total", "given_weights", "given_a", "given_pi", "given_m"),
    *("by_weights", "by_keys", "by_query", "by_bias", "by_key", "by_inputs", "by_maps"),
)


class _Node(ctypes.Structure):
    """`Node` of node.h."""

    _fields_ = tuple((name, ctypes.c_long) for name in _LONGS) + tuple((name, ctypes.c_void_p) for name in _POINTERS)


class Answers(NamedTuple):
    """What a node answers, as in `midas.search.arms.Choice`; without pairs pi and m are empty."""

    weights: Tensor
    a: Tensor
    pi: Tensor
    m: Tensor


class Projections(NamedTuple):
    """Of the n inputs' means to a query of d numbers, [d, n * C] and [d], and of a map's mean to a key, [d, C]."""

    query: Tensor
    bias: Tensor
    key: Tensor


class Kernels:
    """The kernels for the maps of one node.

    Args:
        maps: E candidate maps, each [B, C, H, W], of which `usable` says yes.
        patch: the patch's side in pixels; None where one patch covers the map.
        counts: how many candidates each edge has; not needed where weights are given.
        pairs: whether edges count by the pair rule.
        normalise: whether queries and keys are layer-normalised.
        own: for each input the number of the map of whose patches its means are; -1 where there is none.
    """

    def __init__(
        self,
        maps: Sequence[Tensor],
        patch: int | None,
        counts: Sequence[int] = (),
        pairs: bool = False,
        normalise: bool = False,
        own: Sequence[int] = (),
    ) -> None:
        loaded = library("node", maps[0].dtype)
        assert loaded is not None, "`usable` was asked"
        # no map is kept: a checkpointed pass frees them
        self.library, self.shape = loaded, maps[0].shape
        self.counts, self.pairs, self.normalise = counts, pairs, normalise
        batch, _, height, width = maps[0].shape
        self.patch, self.count, self.own = patch or max(height, width), len(maps), own
        self.grid = (batch, -(-height // self.patch), -(-width // self.patch))

    def attend(
        self, maps: Sequence[Tensor], inputs: Sequence[Tensor], projections: Projections
    ) -> tuple[Tensor, Answers]:
        """The weighted sum and its weights, from the inputs' patch means, each [B, Ph, Pw, C]."""
        n, most = len(self.counts), max(self.counts)
        total, new = torch.empty_like(maps[0]), inputs[0].new_empty
        pi, m = (n * (n - 1) // 2 or 1, n) if self.pairs else (0, 0)
        answers = Answers(
            new(*self.grid, self.count), new(*self.grid, n, most), new(*self.grid, pi), new(*self.grid, m)
        )
        given = {**projections._asdict(), **answers._asdict()}
        self._call("attend", maps=maps, inputs=inputs, total=total, **given)
        return total, answers

    def attend_back(
        self,
        maps: Sequence[Tensor],
        inputs: Sequence[Tensor],
        projections: Projections,
        answers: Answers,
        gradients: Sequence[Tensor | None],
        needed: Sequence[bool],
    ) -> tuple[Tensor, list[Tensor | None]]:
        """The gradients by each pixel of the maps through their keys, [B, Ph, Pw, E, C], and by inputs and projections.

        Args:
            maps: as in `attend`.
            inputs: as in `attend`.
            projections: as in `attend`.
            answers: what it answered.
            gradients: by the sum, and by each of the answers; None where there is none.
            needed: of which inputs, and then projections, the gradient is wanted. That by an input that is a map's is
                with the map's, and is None here.
        """
        threads, n = torch.get_num_threads(), len(inputs)
        by_keys = inputs[0].new_empty(*self.grid, *answers.weights.shape[3:], inputs[0].shape[-1])
        by_inputs = [
            torch.zeros_like(x) if need and e < 0 else None
            for x, need, e in zip(inputs, needed, self.own, strict=False)
        ]
        by_projections = [
            x.new_zeros(threads, *x.shape) if need else None for x, need in zip(projections, needed[n:], strict=True)
        ]
        given = {f"given_{name}": g for name, g in zip(Answers._fields, gradients[1:], strict=True)}
        asked = {f"by_{name}": g for name, g in zip(Projections._fields, by_projections, strict=True)}
        self._call(
            "attend_back",
            maps=maps,
            inputs=inputs,
            by_total=gradients[0],
            by_keys=by_keys,
            by_inputs=by_inputs,
            **projections._asdict(),
            **answers._asdict(),
            **given,
            **asked,
        )
        return by_keys, [*by_inputs, *(None if g is None else g.sum(0) for g in by_projections)]

    def weigh(self, maps: Sequence[Tensor], weights: Tensor) -> Tensor:
        """The weighted sum; weights [B or 1, Ph or 1, Pw or 1, E]."""
        total = torch.empty_like(maps[0])
        self._call("weigh", maps=maps, weights=weights, total=total)
        return total

    def weigh_back(self, maps: Sequence[Tensor], by_total: Tensor) -> Tensor:
        """The gradient by the weights of each sample and patch, [B, Ph, Pw, E]."""
        by_weights = by_total.new_empty(*self.grid, self.count)
        self._call("weigh_back", maps=maps, by_total=by_total, by_weights=by_weights)
        return by_weights

    def spread(
        self, weights: Tensor, by_total: Tensor, by_keys: Tensor | None, needed: Sequence[bool]
    ) -> list[Tensor | None]:
        """Each needed map's gradient: its weight times by_total and, where there are any, its key's."""
        found = [torch.empty_like(by_total) if need else None for need in needed]
        self._call("spread", weights=weights, by_total=by_total, by_keys=by_keys, by_maps=found)
        return found

    def _call(self, name: str, **given: Tensor | Sequence[Tensor | None] | None) -> None:
        node = _Node(self.shape[0], *self.shape[2:], self.shape[1], self.patch, self.count, len(self.counts))
        node.most, node.pairs, node.normalise = max(self.counts, default=0), self.pairs, self.normalise
        node.threads = torch.get_num_threads()
        if isinstance(query := given.get("query"), Tensor):
            node.size = len(query)
        if isinstance(weights := given.get("weights"), Tensor):
            node.by_sample, node.by_patch = len(weights) > 1, weights.shape[1] * weights.shape[2] > 1
        first, own = (
            (ctypes.c_long * (len(self.counts) + 1))(0, *accumulate(self.counts)),
            (ctypes.c_long * len(self.own))(*self.own),
        )
        node.first, node.own, kept = ctypes.addressof(first), ctypes.addressof(own), []
        for field, value in given.items():
            if isinstance(value, Tensor):
                setattr(node, field, value.data_ptr())
            elif value is not None:
                kept.append((ctypes.c_void_p * len(value))(*(None if x is None else x.data_ptr() for x in value)))
                setattr(node, field, ctypes.addressof(kept[-1]))
        getattr(self.library, name)(ctypes.byref(node))
