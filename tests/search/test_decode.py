"""Decoding: the average over samples and patches in a cell, then over cells; the best pair, the best operation."""

import pytest
import torch

from midas.search.arms import Choice
from midas.search.decode import NodeDistribution, _sum, decode, mean
from midas.search.selection import agreement
from midas.spaces import get_space
from midas.spaces.space import Space, complete_edges

OPS = ("none", "skip_connect", "sep_conv_3x3")
SPACE = Space("toy", "darts", 2, {"normal": complete_edges(2, 2, OPS)}, (2, 3), keep=2)


def node(rows: list[list[float]], pi: list[float] | None) -> NodeDistribution:
    return NodeDistribution(
        torch.tensor(rows, dtype=torch.float64), None if pi is None else torch.tensor(pi, dtype=torch.float64)
    )


FIRST = node([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]], [1.0])


def test_the_most_probable_pair_is_kept_with_the_best_operation_on_each_edge() -> None:
    second = node([[0.1, 0.3, 0.6], [0.0, 0.9, 0.1], [0.3, 0.4, 0.3]], [0.2, 0.5, 0.3])
    edges = decode({"normal": [FIRST, second]}, SPACE).cells["normal"].edges
    assert [tuple(e) for e in edges] == [
        ("skip_connect", 0, 2), ("sep_conv_3x3", 1, 2), ("sep_conv_3x3", 0, 3), ("skip_connect", 2, 3),
    ]  # fmt: skip


def test_none_is_never_decoded_where_edges_are_chosen() -> None:
    second = node([[0.9, 0.04, 0.06]] * 3, [1.0, 0.0, 0.0])
    edges = decode({"normal": [FIRST, second]}, SPACE).cells["normal"].edges
    assert {e.op for e in edges if e.target == 3} == {"sep_conv_3x3"}


def test_without_pairs_the_two_edges_of_largest_non_none_weight_are_kept_as_in_darts() -> None:
    second = node([[0.9, 0.05, 0.05], [0.1, 0.45, 0.45], [0.2, 0.2, 0.6]], None)
    edges = decode({"normal": [FIRST, second]}, SPACE).cells["normal"].edges
    assert [e.source for e in edges if e.target == 3] == [1, 2]


def test_a_space_that_keeps_all_edges_may_decode_none() -> None:
    space = get_space("nasbench201")
    nodes = [node([[0.6, 0.1, 0.1, 0.1, 0.1]] * n, None) for n in (1, 2, 3)]
    assert decode({"cell": nodes}, space).to_arch() == "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


def test_every_sample_counts_the_same_and_every_patch_of_a_sample() -> None:
    a = torch.rand(3, 2, 2, 2, 4)  # [B, Ph, Pw, n, m]
    pi = torch.rand(3, 2, 2, 1)
    total = _sum(Choice(a, pi), samples=3)
    assert torch.allclose(total.a, a.double().mean((1, 2)).sum(0))
    assert total.pi is not None
    assert torch.allclose(total.pi, pi.double().mean((1, 2)).sum(0))


def test_static_weights_count_once_for_each_sample() -> None:
    a = torch.rand(1, 1, 1, 2, 4)
    assert torch.allclose(_sum(Choice(a, None), samples=7).a, 7 * a[0, 0, 0].double())


def test_cells_of_a_type_count_the_same_however_many_patches_they_have() -> None:
    many, few = node([[1.0, 0.0]], None), node([[0.0, 1.0]], None)
    assert mean([many, few]).a.tolist() == [[0.5, 0.5]]


def test_agreement_is_the_share_of_equal_edges() -> None:
    one = decode({"normal": [FIRST, node([[0.1, 0.3, 0.6]] * 3, [1.0, 0.0, 0.0])]}, SPACE)
    other = decode({"normal": [FIRST, node([[0.1, 0.3, 0.6]] * 3, [0.0, 1.0, 0.0])]}, SPACE)
    assert agreement([one, one]) == 1
    assert agreement([one, other]) == pytest.approx(3 / 4)
    assert agreement([one]) == 1
