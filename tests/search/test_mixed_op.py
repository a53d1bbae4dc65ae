"""The two implementations of a node, by torch and by kernels, agree in values and gradients."""

from collections.abc import Sequence
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from midas.search import node_kernel
from midas.search.config import SearchConfig
from midas.search.methods import ArchWeights, Method, NodeSpec
from midas.search.methods.midas import MidasMethod
from midas.search.mixed_op import mixed_op, plain_mixed_op
from midas.spaces import get_space
from midas.spaces.space import EdgeSpec
from tests.kernels.switch import kernels

OPS = ("skip_connect", "sep_conv_3x3", "max_pool_3x3", "sep_conv_5x5")


def random_maps(count: int, shape: tuple[int, ...], channels_last: bool = True) -> list[Tensor]:
    memory = torch.channels_last if channels_last else torch.contiguous_format
    return [
        torch.randn(shape, dtype=torch.float64).contiguous(memory_format=memory).requires_grad_()
        for _ in range(count)
    ]


def gradients(output: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    wave = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return torch.autograd.grad((output * wave).sum(), tensors)


def assert_equal(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    for tensor, other in zip(tensors, others, strict=True):
        torch.testing.assert_close(tensor, other, rtol=0, atol=1e-10)


@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 5),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    count=st.integers(1, 4),
    patch=st.sampled_from([None, 2, 4]),
    shared=st.booleans(),
    channels_last=st.booleans(),
    threads=st.integers(1, 3),
)
@settings(max_examples=80)
def test_the_weighted_sum_equals_its_definition(
    batch: int,
    channels: int,
    height: int,
    width: int,
    count: int,
    patch: int | None,
    shared: bool,
    channels_last: bool,
    threads: int,
) -> None:
    torch.set_num_threads(threads)
    patch = None if patch is None or patch >= max(height, width) else patch
    op_outputs = random_maps(count, (batch, channels, height, width), channels_last)
    grid = (1, 1) if patch is None else (-(-height // patch), -(-width // patch))
    shape = (1 if shared else batch, *grid, count)
    weights = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    output = mixed_op(op_outputs, weights, patch)
    plain = plain_mixed_op(op_outputs, weights, patch)
    assert_equal([output], [plain])
    tensors = [weights, *op_outputs]
    assert_equal(gradients(output, tensors), gradients(plain, tensors))


def test_the_definition_of_the_weighted_sum_weighs_every_pixel_by_its_patch() -> None:
    op_outputs = random_maps(2, (1, 3, 5, 5))
    weights = torch.rand(1, 3, 3, 2, dtype=torch.float64)
    output = plain_mixed_op(op_outputs, weights, 2)
    for y in range(5):
        for x in range(5):
            first, second = weights[0, y // 2, x // 2]
            expected = first * op_outputs[0][0, :, y, x] + second * op_outputs[1][0, :, y, x]
            assert torch.allclose(output[0, :, y, x], expected)


@given(
    inputs=st.integers(1, 4),
    size=st.integers(2, 9),
    ratio=st.sampled_from([1, 2]),
    count=st.integers(1, 3),
    patch=st.sampled_from([None, 2, 4, 8]),
    space=st.sampled_from(["darts", "nasbench201"]),
    channels=st.sampled_from([3, 16]),
    channels_last=st.booleans(),
    skips=st.booleans(),
    threads=st.integers(1, 3),
)
@settings(max_examples=200)
def test_a_node_of_midas_is_equal_both_ways_in_every_output_and_gradient(
    inputs: int,
    size: int,
    ratio: int,
    count: int,
    patch: int | None,
    space: str,
    channels: int,
    channels_last: bool,
    skips: bool,
    threads: int,
) -> None:
    torch.manual_seed(size)
    torch.set_num_threads(threads)
    edges = tuple(EdgeSpec(i, 3, OPS[: count + i % 2]) for i in range(inputs))
    node_spec = NodeSpec(0, "normal", channels, 0, edges)
    config = SearchConfig(patch_size=patch, width=4)
    method = MidasMethod(get_space(space), [node_spec], config).double()
    states = random_maps(inputs, (2, channels, size * ratio, size * ratio), channels_last)
    counts = [len(edge.candidates) for edge in edges]
    op_outputs = random_maps(sum(counts), (2, channels, size, size), channels_last)
    if skips and ratio == 1:
        # in a normal cell the output of a skip is the input itself, and its mean is a query
        for first, state in zip(accumulate([0, *counts[:-1]]), states, strict=True):
            op_outputs[first] = state
    results = []
    for native in (True, False):
        method.begin_cell()
        with kernels(on=native):
            output, weights = method.mixed_op(node_spec, states, op_outputs)
        assert weights.patch == (None if patch is None or patch >= size else patch)
        assert (weights.pair_probs is None) == (weights.edge_probs is None) == (space != "darts")
        answers = [output, *(w for w in weights if isinstance(w, Tensor))]
        # the answers' gradients too, as a penalty would ask for them
        total = sum((t.sin().sum() for t in answers), torch.zeros((), dtype=torch.float64))
        tensors = [*states, *op_outputs, *method.parameters()]
        results.append([*answers, *torch.autograd.grad(total, tensors)])
    assert_equal(*results)


def test_a_node_whose_weights_alone_are_used_has_their_gradient() -> None:
    edges = (EdgeSpec(0, 2, OPS[:2]), EdgeSpec(1, 2, OPS[:2]))
    node_spec = NodeSpec(0, "normal", 3, 0, edges)
    method = MidasMethod(get_space("darts"), [node_spec], SearchConfig(width=4)).double()
    op_outputs = random_maps(4, (2, 3, 8, 8))
    inputs = random_maps(2, (2, 3, 8, 8))

    def of_weights(weights: ArchWeights) -> tuple[Tensor, ...]:
        return torch.autograd.grad(weights.op_weights.square().sum(), op_outputs)

    method.begin_cell()
    _, weights = method.mixed_op(node_spec, inputs, op_outputs)
    method.begin_cell()
    assert_equal(of_weights(weights), of_weights(method(node_spec, inputs, op_outputs)))


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("learning", ["op_outputs", "method"])
def test_only_what_learns_receives_a_gradient(learning: str, native: bool) -> None:
    node_spec = NodeSpec(0, "normal", 3, 0, (EdgeSpec(0, 2, OPS[:2]),))
    method = MidasMethod(get_space("darts"), [node_spec], SearchConfig(width=4))
    method.requires_grad_(learning == "method")
    op_outputs = [
        torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last).requires_grad_(value)
        for value in 2 * [learning == "op_outputs"]
    ]
    with kernels(on=native):
        output, _ = method.mixed_op(node_spec, [torch.randn(2, 3, 8, 8)], op_outputs)
        output.square().sum().backward()
    assert all((f.grad is not None) == (learning == "op_outputs") for f in op_outputs)
    assert all((p.grad is not None) == (learning == "method") for p in method.parameters())


def test_weights_of_another_dtype_are_left_to_torch() -> None:
    op_outputs = random_maps(2, (2, 3, 4, 4))
    weights = torch.rand(1, 1, 1, 2)
    expected = plain_mixed_op(op_outputs, weights.double(), None)
    assert torch.allclose(mixed_op(op_outputs, weights, None), expected, atol=1e-6)


def test_a_method_that_mixes_by_its_weights_alone_has_the_sum_that_they_say() -> None:
    class Halves(Method):
        def forward(
            self, node_spec: NodeSpec, inputs: Sequence[Tensor], op_outputs: Sequence[Tensor]
        ) -> ArchWeights:
            halves = torch.full((1, 1, 1, 1, 2), 0.5, dtype=torch.float64)
            return ArchWeights(halves.flatten(-2), halves)

    node_spec = NodeSpec(0, "normal", 3, 0, (EdgeSpec(0, 2, OPS[:2]),))
    op_outputs = random_maps(2, (2, 3, 8, 8))
    output, _ = Halves().mixed_op(node_spec, [], op_outputs)
    assert_equal([output], [(op_outputs[0] + op_outputs[1]) / 2])


def test_a_node_keeps_its_maps_where_autograds_hooks_see_them() -> None:
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> int:
        kept.append(tensor)
        return len(kept) - 1

    op_outputs = random_maps(2, (2, 3, 4, 4))
    weights = torch.rand(1, 1, 1, 2, dtype=torch.float64)
    with torch.autograd.graph.saved_tensors_hooks(pack, kept.__getitem__):
        total = mixed_op(op_outputs, weights, None)
    node = getattr(total.grad_fn, "node", None)
    if node is not None:  # the kernels of this machine
        assert isinstance(node, node_kernel.NodeKernel)
        assert not any(isinstance(value, Tensor) for value in vars(node).values())
        assert len(kept) == 3
