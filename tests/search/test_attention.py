"""Mosaic attention against its formula, written out patch by patch (docs/method.md)."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from midas.search.arms import Choice, NodeSite
from midas.search.arms.mosaic import MidasArm
from midas.search.attention import MosaicAttention
from midas.search.config import SearchConfig
from midas.search.patches import patch_means, spread
from midas.spaces import get_space
from midas.spaces.space import EdgeSpec

OPS = ("skip_connect", "sep_conv_3x3", "max_pool_3x3")


def slices(size: int, patch: int) -> list[slice]:
    return [slice(start, min(start + patch, size)) for start in range(0, size, patch)]


def node_output(
    arm: MidasArm, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]
) -> tuple[Tensor, Choice]:
    arm.begin_cell()
    return arm.mix(site, inputs, maps)


def plain_node(arm: MidasArm, site: NodeSite, inputs: list[Tensor], maps: list[Tensor], patch: int) -> Tensor:
    """The node's output by loops over samples, patches, edges and operations."""
    attention, n, m = arm.attention[site.name], len(inputs), len(maps) // len(inputs)
    assert isinstance(attention, MosaicAttention)
    size, output = maps[0].shape[-1], torch.zeros_like(maps[0])
    ratio = inputs[0].shape[-1] // size

    def normal(x: Tensor) -> Tensor:
        return (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-5) if attention.normalise else x

    for b in range(len(output)):
        for rows in slices(size, patch):
            for columns in slices(size, patch):
                wide = [slice(s.start * ratio, s.stop * ratio) for s in (rows, columns)]
                query = attention.query(torch.cat([normal(x[b, :, wide[0], wide[1]].mean((1, 2))) for x in inputs]))
                keys = [attention.key(normal(f[b, :, rows, columns].mean((1, 2)))) for f in maps]
                if attention.key.bias is not None:  # candidate e has the e-th part of a wide projection
                    keys = [key.view(len(maps), -1)[e] for e, key in enumerate(keys)]
                logits = torch.stack([query @ key / math.sqrt(attention.width) for key in keys]).view(n, m)
                scores = [torch.logsumexp(logits[i], 0) for i in range(n)]
                pairs = {(i, k): torch.exp(scores[i] + scores[k]) for i in range(n) for k in range(i + 1, n)}
                total = sum(pairs.values())
                for i in range(n):
                    kept = sum(weight for pair, weight in pairs.items() if i in pair) / total
                    for j in range(m):
                        weight = kept * torch.softmax(logits[i], 0)[j]
                        output[b, :, rows, columns] += weight * maps[i * m + j][b, :, rows, columns]
    return output


@pytest.mark.parametrize("patch", [4, 8])
@pytest.mark.parametrize("size", [5, 8, 12])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("ratio", "separate"), [(1, False), (2, False), (1, True)])
def test_a_nodes_output_equals_its_formula(patch: int, size: int, normalise: bool, ratio: int, separate: bool) -> None:
    torch.manual_seed(size)
    options = {"patch_size": patch, "width": 5, "normalise": normalise, "separate_keys": separate}
    site = NodeSite(0, "normal", 6, 0, tuple(EdgeSpec(i, 3, OPS) for i in range(3)))
    arm = MidasArm(get_space("darts"), [site], SearchConfig(**options)).double()
    inputs = [torch.randn(2, 6, size * ratio, size * ratio, dtype=torch.float64) for _ in range(3)]
    maps = [torch.randn(2, 6, size, size, dtype=torch.float64) for _ in range(9)]
    output, choice = node_output(arm, site, inputs, maps)
    assert torch.allclose(output, plain_node(arm, site, inputs, maps, patch), atol=1e-10)
    assert choice.a.shape == (
        2,
        -(-size // patch) if patch < size else 1,
        -(-size // patch) if patch < size else 1,
        3,
        3,
    )


@given(st.integers(1, 13), st.integers(1, 13), st.sampled_from([2, 4, 8]))
@settings(max_examples=60)
def test_patches_cover_the_map_and_the_last_may_be_smaller(height: int, width: int, patch: int) -> None:
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
    site = NodeSite(0, "normal", 3, 0, tuple(EdgeSpec(i, 3, OPS[:2]) for i in range(3)))
    arm = MidasArm(get_space("darts"), [site], SearchConfig(patch_size=4, width=4)).double()
    tensors = [torch.randn(1, 3, 6, 6, dtype=torch.float64, requires_grad=True) for _ in range(9)]
    assert torch.autograd.gradcheck(lambda *t: node_output(arm, site, t[:3], t[3:])[0], tensors)


def test_extreme_logits_and_equal_inputs_stay_finite() -> None:
    site = NodeSite(0, "normal", 4, 0, tuple(EdgeSpec(i, 3, OPS[:2]) for i in range(3)))
    arm = MidasArm(get_space("darts"), [site], SearchConfig(patch_size=4, normalise=False))
    for scale in (0.0, 1e4):
        maps = [torch.full((2, 4, 8, 8), scale, requires_grad=True) for _ in range(6)]
        output, _ = node_output(arm, site, [torch.ones(2, 4, 8, 8)] * 3, maps)
        gradients = torch.autograd.grad(output.sum(), maps)
        assert torch.isfinite(output).all()
        assert all(torch.isfinite(g).all() for g in gradients)


def test_detached_keys_give_the_maps_no_gradient_through_the_attention() -> None:
    torch.manual_seed(0)
    site = NodeSite(0, "normal", 4, 0, (EdgeSpec(0, 2, OPS[:2]), EdgeSpec(1, 2, OPS[:2])))
    arm = MidasArm(get_space("darts"), [site], SearchConfig(patch_size=4, detach_keys=True))
    maps = [torch.randn(1, 4, 4, 4, requires_grad=True) for _ in range(4)]
    output, choice = node_output(arm, site, [torch.randn(1, 4, 4, 4)] * 2, maps)
    assert torch.autograd.grad(choice.a.square().sum(), maps, allow_unused=True, retain_graph=True) == (None,) * 4
    gradient = torch.autograd.grad(output.sum(), maps)[0]
    weight = (choice.a[0, 0, 0, 0, 0]).item()
    assert torch.allclose(gradient, torch.full_like(gradient, weight))


def test_a_uniform_start_prefers_no_candidate_and_learns_from_the_first_step() -> None:
    site = NodeSite(0, "normal", 4, 0, (EdgeSpec(0, 2, OPS), EdgeSpec(1, 2, OPS)))
    arm = MidasArm(get_space("darts"), [site], SearchConfig(uniform_start=True))
    output, choice = node_output(arm, site, [torch.randn(2, 4, 8, 8)] * 2, [torch.randn(2, 4, 8, 8) for _ in range(6)])
    assert torch.allclose(choice.a, torch.full_like(choice.a, 1 / 3))
    output.square().sum().backward()
    attention = arm.attention[site.name]
    assert isinstance(attention, MosaicAttention)
    assert attention.key.weight.grad is not None
    assert attention.key.weight.grad.abs().max() > 0
