"""Mosaic attention against its formula, written out patch by patch (docs/method.md)."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from midas.search.config import SearchConfig
from midas.search.methods import ArchWeights, NodeSpec
from midas.search.methods.midas import MidasMethod, MosaicAttention
from midas.search.mixed_op import patch_means, spread
from midas.spaces import get_space
from midas.spaces.space import EdgeSpec
from tests.kernels.switch import kernels

OPS = ("skip_connect", "sep_conv_3x3", "max_pool_3x3")


def slices(size: int, patch: int) -> list[slice]:
    return [slice(start, min(start + patch, size)) for start in range(0, size, patch)]


def node_output(
    method: MidasMethod, node_spec: NodeSpec, inputs: Sequence[Tensor], op_outputs: Sequence[Tensor]
) -> tuple[Tensor, ArchWeights]:
    method.begin_cell()
    return method.mixed_op(node_spec, inputs, op_outputs)


def plain_node(
    method: MidasMethod,
    node_spec: NodeSpec,
    inputs: list[Tensor],
    op_outputs: list[Tensor],
    patch: int,
) -> Tensor:
    """The node's output by loops over samples, patches, edges and operations."""
    attention = method.attention[node_spec.name]
    assert isinstance(attention, MosaicAttention)
    n = len(inputs)
    m = len(op_outputs) // n
    size = op_outputs[0].shape[-1]
    output = torch.zeros_like(op_outputs[0])
    ratio = inputs[0].shape[-1] // size

    def normal(x: Tensor) -> Tensor:
        return (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-5)

    for b in range(len(output)):
        for rows in slices(size, patch):
            for columns in slices(size, patch):
                wide = [slice(s.start * ratio, s.stop * ratio) for s in (rows, columns)]
                query = attention.query(
                    torch.cat([normal(x[b, :, wide[0], wide[1]].mean((1, 2))) for x in inputs])
                )
                keys = [
                    attention.key(normal(f[b, :, rows, columns].mean((1, 2)))) for f in op_outputs
                ]
                logits = torch.stack(
                    [query @ key / math.sqrt(attention.width) for key in keys]
                ).view(n, m)
                scores = [torch.logsumexp(logits[i], 0) for i in range(n)]
                pairs = {
                    (i, k): torch.exp(scores[i] + scores[k])
                    for i in range(n)
                    for k in range(i + 1, n)
                }
                total = sum(pairs.values())
                for i in range(n):
                    kept = sum(weight for pair, weight in pairs.items() if i in pair) / total
                    for j in range(m):
                        weight = kept * torch.softmax(logits[i], 0)[j]
                        output[b, :, rows, columns] += (
                            weight * op_outputs[i * m + j][b, :, rows, columns]
                        )
    return output


@pytest.mark.parametrize("patch", [4, 8])
@pytest.mark.parametrize("size", [5, 8, 12])
@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("native", [True, False])
def test_a_nodes_output_equals_its_formula(patch: int, size: int, ratio: int, native: bool) -> None:
    torch.manual_seed(size)
    config = SearchConfig(patch_size=patch, width=5)
    node_spec = NodeSpec(0, "normal", 6, 0, tuple(EdgeSpec(i, 3, OPS) for i in range(3)))
    method = MidasMethod(get_space("darts"), [node_spec], config).double()
    inputs = [torch.randn(2, 6, size * ratio, size * ratio, dtype=torch.float64) for _ in range(3)]
    op_outputs = [
        torch.randn(2, 6, size, size, dtype=torch.float64).to(memory_format=torch.channels_last)
        for _ in range(9)
    ]
    with kernels(on=native):
        output, arch_weights = node_output(method, node_spec, inputs, op_outputs)
    expected = plain_node(method, node_spec, inputs, op_outputs, patch)
    assert torch.allclose(output, expected, atol=1e-10)
    side = -(-size // patch) if patch < size else 1
    assert arch_weights.op_weights.shape == (2, side, side, 3, 3)


@given(st.integers(1, 13), st.integers(1, 13), st.sampled_from([2, 4, 8]))
@settings(max_examples=60)
def test_patches_cover_the_map_and_the_last_may_be_smaller(
    height: int, width: int, patch: int
) -> None:
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    means = patch_means(x, patch)
    if patch >= max(height, width):
        assert torch.allclose(means[:, 0, 0], x.mean((2, 3)))
        return
    for p, rows in enumerate(slices(height, patch)):
        for q, columns in enumerate(slices(width, patch)):
            assert torch.allclose(means[:, p, q], x[:, :, rows, columns].mean((2, 3)), atol=1e-12)
    numbers = torch.arange(means[0, :, :, 0].numel()).view(1, *means.shape[1:3], 1)
    per_pixel = spread(numbers, (height, width), patch)[..., 0]
    assert per_pixel.shape == (1, height, width)
    assert per_pixel[0, -1, -1] == means[0, :, :, 0].numel() - 1


def test_no_patch_is_one_patch_over_the_whole_map() -> None:
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(patch_means(x, None), patch_means(x, 8))
    assert patch_means(x, None).shape == (2, 1, 1, 3)


def test_the_gradient_of_a_node_agrees_with_finite_differences() -> None:
    torch.manual_seed(0)
    node_spec = NodeSpec(0, "normal", 3, 0, tuple(EdgeSpec(i, 3, OPS[:2]) for i in range(3)))
    method = MidasMethod(
        get_space("darts"), [node_spec], SearchConfig(patch_size=4, width=4)
    ).double()
    tensors = [torch.randn(1, 3, 6, 6, dtype=torch.float64, requires_grad=True) for _ in range(9)]
    assert torch.autograd.gradcheck(
        lambda *t: node_output(method, node_spec, t[:3], t[3:])[0], tensors
    )


def test_extreme_logits_and_equal_inputs_stay_finite() -> None:
    node_spec = NodeSpec(0, "normal", 4, 0, tuple(EdgeSpec(i, 3, OPS[:2]) for i in range(3)))
    method = MidasMethod(get_space("darts"), [node_spec], SearchConfig(patch_size=4))
    for scale in (0.0, 1e4):
        op_outputs = [torch.full((2, 4, 8, 8), scale, requires_grad=True) for _ in range(6)]
        output, _ = node_output(method, node_spec, [torch.ones(2, 4, 8, 8)] * 3, op_outputs)
        gradients = torch.autograd.grad(output.sum(), op_outputs)
        assert torch.isfinite(output).all()
        assert all(torch.isfinite(g).all() for g in gradients)
