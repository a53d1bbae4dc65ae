"""The mixed operation and the mosaic attention of a node on a CPU, by the kernels of node_kernel.c.

They read each candidate's output once in a pass, and need `usable(SOURCE, *op_outputs)`.
"""

from collections.abc import Sequence
from ctypes import POINTER, c_long, c_void_p
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from midas.kernels.build import Kernel, Struct, addresses, fields

SOURCE = Path(__file__).with_suffix(".c")


class Projections(NamedTuple):
    """The projections of mosaic attention to queries and keys of width d."""

    query: Tensor  # [d, n * C], of the n inputs' patch means
    bias: Tensor  # [d], of the query
    key: Tensor  # [d, C], of an output's patch mean


class KernelWeights(NamedTuple):
    """`methods.base.ArchWeights` without `patch`; the last two are empty without the pair rule."""

    mixing: Tensor
    op_weights: Tensor
    pair_probs: Tensor
    edge_probs: Tensor


class _Shape(Struct):
    _fields_ = fields(c_long, "batch height width channels patch candidates threads")


class _Mixing(Struct):
    _fields_ = (("weights", c_void_p), *fields(c_long, "sample_stride row_stride patch_stride"))


class _Attention(Struct):
    _fields_ = (
        *fields(c_long, "edges max_ops width pair_rule"),
        *fields(POINTER(c_long), "first skips"),
        ("inputs", POINTER(c_void_p)),
        *((name, c_void_p) for name in (*Projections._fields, *KernelWeights._fields)),
    )


class _AttentionGrads(Struct):
    _fields_ = (
        *((name, c_void_p) for name in ("output", *KernelWeights._fields)),
        *((name, c_void_p) for name in ("keys", *Projections._fields)),
        ("inputs", POINTER(c_void_p)),
    )


_weighted_sum = Kernel(SOURCE, "weighted_sum", _Shape, _Mixing, c_void_p, c_void_p)
_weights_backward = Kernel(SOURCE, "weights_backward", _Shape, c_void_p, c_void_p, c_void_p)
_outputs_backward = Kernel(SOURCE, "outputs_backward", _Shape, _Mixing, *[c_void_p] * 3)
_attended_sum = Kernel(SOURCE, "attended_sum", _Shape, _Attention, c_void_p, c_void_p)
_attention_backward = Kernel(
    SOURCE, "attention_backward", _Shape, _Attention, c_void_p, _AttentionGrads
)


class NodeKernel:
    """What the kernels need to know about a node. It keeps no tensor, so they can be freed.

    Args:
        patch: the side of a patch in pixels; None where one patch covers the map.
        candidates: the number of candidates on each of the n edges, for `attended_sum` only.
        pair_rule: whether an edge counts with its probability of being kept, or in full.
        skips: for each of the n inputs, the index of the output that is the input itself, or -1.
    """

    def __init__(
        self,
        op_outputs: Sequence[Tensor],
        patch: int | None,
        candidates: Sequence[int] = (),
        pair_rule: bool = False,
        skips: Sequence[int] = (),
    ) -> None:
        self.batch, self.channels, self.height, self.width = op_outputs[0].shape
        self.dtype = op_outputs[0].dtype
        self.count = len(op_outputs)
        self.patch = patch or max(self.height, self.width)
        self.grid = (self.batch, -(-self.height // self.patch), -(-self.width // self.patch))
        self.candidates = candidates
        self.pair_rule = pair_rule
        self.skips = skips

    def shape(self) -> _Shape:
        """The `Shape` of node_kernel.h, with torch's number of threads at this time."""
        size = (self.batch, self.height, self.width, self.channels)
        return _Shape(*size, self.patch, self.count, torch.get_num_threads())

    def mixing(self, weights: Tensor) -> _Mixing:
        """The `Mixing` of node_kernel.h, from weights [B or 1, Ph or 1, Pw or 1, E]."""
        return _Mixing(weights, *weights.expand(*self.grid, self.count).stride()[:3])

    def attention(
        self, inputs: Sequence[Tensor], projections: Projections, weights: KernelWeights
    ) -> _Attention:
        """The `Attention` of node_kernel.h, from the inputs' patch means, each [B, Ph, Pw, C]."""
        n = len(self.candidates)
        sizes = (n, max(self.candidates), len(projections.query))
        first = (c_long * (n + 1))(0, *accumulate(self.candidates))
        integers = (*sizes, self.pair_rule, first, (c_long * n)(*self.skips))
        return _Attention(*integers, addresses(inputs), *projections, *weights)

    def split(self, values: Sequence[Any]) -> tuple[Sequence[Any], ...]:
        """Split values that belong to the outputs, the inputs and the projections in turn."""
        end = self.count + len(self.candidates)
        return values[: self.count], values[self.count : end], values[end:]

    def grad_outputs(
        self, weights: Tensor, grad_output: Tensor, grad_keys: Tensor | None, needed: Sequence[bool]
    ) -> list[Tensor | None]:
        """The gradient by each output that needs one, from that by the sum and that by the keys."""
        gradients = [torch.empty_like(grad_output) if need else None for need in needed]
        tensors = (grad_output, grad_keys, addresses(gradients))
        _outputs_backward(self.dtype, self.shape(), self.mixing(weights), *tensors)
        return gradients


def weighted_sum(op_outputs: Sequence[Tensor], weights: Tensor, patch: int | None) -> Tensor:
    """Compute `midas.search.mixed_op.plain_mixed_op` by a kernel."""
    return cast(Tensor, _WeightedSum.apply(NodeKernel(op_outputs, patch), weights, *op_outputs))


def attended_sum(
    node: NodeKernel,
    op_outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    projections: Projections,
) -> tuple[Tensor, KernelWeights]:
    """Weight the outputs by mosaic attention on patch means [B, Ph, Pw, C]; add them up."""
    output, *weights = _AttendedSum.apply(node, *op_outputs, *inputs, *projections)
    return output, KernelWeights(*weights)


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, node: NodeKernel, weights: Tensor, *op_outputs: Tensor) -> Tensor:
        weights = weights.contiguous()
        output = torch.empty_like(op_outputs[0])
        tensors = (addresses(op_outputs), output)
        _weighted_sum(node.dtype, node.shape(), node.mixing(weights), *tensors)
        ctx.node = node
        ctx.save_for_backward(weights, *op_outputs)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        node: NodeKernel = ctx.node
        weights, *op_outputs = ctx.saved_tensors
        _, need_weights, *need_outputs = ctx.needs_input_grad
        grad_output = gradients[0].contiguous(memory_format=torch.channels_last)
        grad_weights = None
        if need_weights:
            per_patch = weights.new_empty(*node.grid, node.count)
            tensors = (addresses(op_outputs), grad_output, per_patch)
            _weights_backward(node.dtype, node.shape(), *tensors)
            grad_weights = per_patch.sum_to_size(weights.shape)
        return None, grad_weights, *node.grad_outputs(weights, grad_output, None, need_outputs)


class _AttendedSum(torch.autograd.Function):
    """The backward pass computes queries, keys and logits again."""

    @staticmethod
    def forward(ctx: Any, node: NodeKernel, *tensors: Tensor) -> tuple[Tensor, ...]:
        op_outputs = tensors[: node.count]
        others = [x.contiguous() for x in tensors[node.count :]]
        _, inputs, projections = node.split([*op_outputs, *others])
        n = len(node.candidates)
        pairs = (max(1, n * (n - 1) // 2), n) if node.pair_rule else (0, 0)
        sizes = ((node.count,), (n, max(node.candidates)), pairs[:1], pairs[1:])
        weights = KernelWeights(*(inputs[0].new_empty(*node.grid, *size) for size in sizes))
        attention = node.attention(inputs, Projections(*projections), weights)
        output = torch.empty_like(op_outputs[0])
        _attended_sum(node.dtype, node.shape(), attention, addresses(op_outputs), output)
        ctx.node = node
        ctx.save_for_backward(*weights, *op_outputs, *others)
        ctx.set_materialize_grads(False)
        return output, *weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        node: NodeKernel = ctx.node
        saved = ctx.saved_tensors  # a checkpointed pass allows this once
        weights = KernelWeights(*saved[:4])
        op_outputs, inputs, projections = node.split(saved[4:])
        need_outputs, need_inputs, need_projections = node.split(ctx.needs_input_grad[1:])
        grad_output = torch.zeros_like(op_outputs[0]) if gradients[0] is None else gradients[0]
        grad_output = grad_output.contiguous(memory_format=torch.channels_last)
        grad_weights = [None if g is None else g.contiguous() for g in gradients[1:]]
        grad_keys = inputs[0].new_empty(*node.grid, node.count, node.channels)
        # where an input is an output, too, its gradient is part of the output's
        grad_inputs = [
            torch.zeros_like(x) if need and skip < 0 else None
            for x, need, skip in zip(inputs, need_inputs, node.skips, strict=True)
        ]
        shape = node.shape()
        by_thread = [
            x.new_zeros(shape.threads, *x.shape) if need else None
            for x, need in zip(projections, need_projections, strict=True)
        ]
        attention = node.attention(inputs, Projections(*projections), weights)
        tensors = (grad_output, *grad_weights, grad_keys, *by_thread)
        grads = _AttentionGrads(*tensors, addresses(grad_inputs))
        _attention_backward(node.dtype, shape, attention, addresses(op_outputs), grads)
        grad_projections = [None if g is None else g.sum(0) for g in by_thread]
        grad_outputs = node.grad_outputs(weights.mixing, grad_output, grad_keys, need_outputs)
        return None, *grad_outputs, *grad_inputs, *grad_projections
