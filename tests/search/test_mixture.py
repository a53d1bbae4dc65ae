"""The fused sums against the plain ones, values and gradients, in float64."""

from collections.abc import Callable, Sequence
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from midas.search.arms import NodeSite
from midas.search.arms.base import Arm, Choice
from midas.search.arms.mosaic import MidasArm
from midas.search.config import SearchConfig
from midas.search.mixture import plain_sum, weighted_sum
from midas.spaces import get_space
from midas.spaces.space import EdgeSpec
from tests.native.switch import kernels

OPS = ("skip_connect", "sep_conv_3x3", "max_pool_3x3", "sep_conv_5x5")


def maps_of(count: int, shape: tuple[int, ...], channels_last: bool) -> list[Tensor]:
    memory = torch.channels_last if channels_last else torch.contiguous_format
    return [
        torch.randn(shape, dtype=torch.float64).contiguous(memory_format=memory).requires_grad_() for _ in range(count)
    ]


def gradients(output: Tensor, of: Sequence[Tensor]) -> tuple[Tensor, ...]:
    wave = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return torch.autograd.grad((output * wave).sum(), of)


@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 5),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    count=st.integers(1, 4),
    patch=st.sampled_from([None, 2, 4]),
    shared=st.booleans(),
    channels_last=st.booleans(),
    native=st.booleans(),
    threads=st.integers(1, 3),
)
@settings(max_examples=80)
def test_the_weighted_sum_equals_the_plain_one(
    batch: int,
    channels: int,
    height: int,
    width: int,
    count: int,
    patch: int | None,
    shared: bool,
    channels_last: bool,
    native: bool,
    threads: int,
) -> None:
    torch.set_num_threads(threads)
    patch = None if patch is None or patch >= max(height, width) else patch
    maps = maps_of(count, (batch, channels, height, width), channels_last)
    grid = (1, 1) if patch is None else (-(-height // patch), -(-width // patch))
    weights = torch.rand(1 if shared else batch, *grid, count, dtype=torch.float64, requires_grad=True)
    with kernels(native):
        outputs = [one(maps, weights, patch) for one in (weighted_sum, plain_sum)]
    assert torch.allclose(*outputs, rtol=0, atol=1e-10)
    for fast, plain in zip(*(gradients(output, [weights, *maps]) for output in outputs), strict=True):
        assert torch.allclose(fast, plain, rtol=0, atol=1e-10)


@given(
    inputs=st.integers(1, 4),
    size=st.integers(2, 9),
    ratio=st.sampled_from([1, 2]),
    count=st.integers(1, 3),
    patch=st.sampled_from([None, 2, 4, 8]),
    space=st.sampled_from(["darts", "nasbench201"]),
    channels=st.sampled_from([3, 16]),
    normalise=st.booleans(),
    channels_last=st.booleans(),
    skips=st.booleans(),
    native=st.booleans(),
    threads=st.integers(1, 3),
)
@settings(max_examples=200)
def test_a_node_of_the_midas_arm_equals_the_plain_one_in_every_output_and_gradient(
    inputs: int,
    size: int,
    ratio: int,
    count: int,
    patch: int | None,
    space: str,
    channels: int,
    normalise: bool,
    channels_last: bool,
    skips: bool,
    native: bool,
    threads: int,
) -> None:
    torch.manual_seed(size)
    torch.set_num_threads(threads)
    site = NodeSite(0, "normal", channels, 0, tuple(EdgeSpec(i, 3, OPS[: count + i % 2]) for i in range(inputs)))
    config = SearchConfig(patch_size=patch, width=4, normalise=normalise)
    arm = MidasArm(get_space(space), [site], config).double()
    xs = maps_of(inputs, (2, channels, size * ratio, size * ratio), channels_last)
    counts = [len(edge.candidates) for edge in site.edges]
    maps = maps_of(sum(counts), (2, channels, size, size), channels_last)
    if skips and ratio == 1:  # in a normal cell a skip's map is the input itself, and its mean a query
        for first, x in zip(accumulate([0, *counts[:-1]]), xs, strict=True):
            maps[first] = x
    ways: list[Callable[..., tuple[Tensor, Choice]]] = [arm.mix, lambda *args: Arm.mix(arm, *args)]
    found = []
    for way in ways:
        arm.begin_cell()
        with kernels(native):
            output, choice = way(site, xs, maps)
        assert choice.patch == (None if patch is None or patch >= size else patch)
        answers = [output, *choice.tensors()]
        # the answers' gradients too, as a bypass or a penalty would ask for them
        total = sum((t.sin().sum() for t in answers), torch.zeros((), dtype=torch.float64))
        found.append((answers, torch.autograd.grad(total, [*xs, *maps, *arm.parameters()])))
    for fast, plain in zip(*(answers + list(grads) for answers, grads in found), strict=True):
        assert torch.allclose(fast, plain, rtol=0, atol=1e-10)


def test_a_node_whose_weights_alone_are_used_has_their_gradient() -> None:
    site = NodeSite(0, "normal", 3, 0, (EdgeSpec(0, 2, OPS[:2]), EdgeSpec(1, 2, OPS[:2])))
    arm = MidasArm(get_space("darts"), [site], SearchConfig(width=4)).double()
    maps = maps_of(4, (2, 3, 8, 8), channels_last=True)
    xs = maps_of(2, (2, 3, 8, 8), channels_last=True)
    arm.begin_cell()
    fast = torch.autograd.grad(arm.mix(site, xs, maps)[1].a.square().sum(), maps)
    arm.begin_cell()
    plain = torch.autograd.grad(arm(site, xs, maps).a.square().sum(), maps)
    assert all(torch.allclose(f, p, atol=1e-10) for f, p in zip(fast, plain, strict=True))


@pytest.mark.parametrize("learning", ["maps", "arm"])
def test_only_what_learns_receives_a_gradient(learning: str) -> None:
    site = NodeSite(0, "normal", 3, 0, (EdgeSpec(0, 2, OPS[:2]),))
    arm = MidasArm(get_space("darts"), [site], SearchConfig(width=4))
    arm.requires_grad_(learning == "arm")
    maps = [torch.randn(2, 3, 8, 8, requires_grad=learning == "maps") for _ in range(2)]
    arm.mix(site, [torch.randn(2, 3, 8, 8)], maps)[0].square().sum().backward()
    assert all((f.grad is not None) == (learning == "maps") for f in maps)
    assert all((p.grad is not None) == (learning == "arm") for p in arm.parameters())


def test_weights_of_another_dtype_are_torchs_business() -> None:
    maps = maps_of(2, (2, 3, 4, 4), channels_last=True)
    weights = torch.rand(1, 1, 1, 2)
    assert torch.allclose(weighted_sum(maps, weights, None), plain_sum(maps, weights.double(), None), atol=1e-6)


def test_a_node_keeps_its_maps_where_checkpointing_can_free_them() -> None:
    kept: list[Tensor] = []
    maps = maps_of(2, (2, 3, 4, 4), channels_last=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or len(kept), lambda n: kept[n - 1]):
        total = weighted_sum(maps, torch.rand(1, 1, 1, 2, dtype=torch.float64), None)
    if native := getattr(total.grad_fn, "kernels", None):
        assert not any(isinstance(value, Tensor) for value in vars(native).values())
    assert len(kept) == 3
