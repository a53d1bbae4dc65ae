"""Positions in a column: near to the preferred ones, in order, and apart."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas.drawing.layout import keep_gaps

positions = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12)


@given(positions, st.data())
def test_order_and_gaps_are_kept(preferred: list[float], data: st.DataObject) -> None:
    count = len(preferred) - 1
    gaps = data.draw(st.lists(st.floats(0, 50), min_size=count, max_size=count))
    result = keep_gaps(preferred, gaps)
    assert all(b - a >= gap - 1e-9 for (a, b), gap in zip(pairwise(result), gaps, strict=True))


@given(positions)
def test_positions_without_conflicts_stay(preferred: list[float]) -> None:
    ordered = sorted(preferred)
    assert keep_gaps(ordered, [0.0] * (len(ordered) - 1)) == pytest.approx(ordered)


@given(positions, st.data())
def test_no_other_allowed_positions_are_nearer(preferred: list[float], data: st.DataObject) -> None:
    gaps = [1.0] * (len(preferred) - 1)
    count = len(preferred)
    shifts = data.draw(st.lists(st.floats(0, 5), min_size=count, max_size=count))
    result = keep_gaps(preferred, gaps)
    # Moving everything from some position on to the right keeps order and gaps. Since the result
    # is optimal, no such move improves it.
    for first, shift in enumerate(shifts):
        moved = [y + shift if k >= first else y for k, y in enumerate(result)]
        assert _cost(moved, preferred) >= _cost(result, preferred) - 1e-6


def test_two_boxes_that_prefer_one_position_share_the_loss() -> None:
    assert keep_gaps([5.0, 5.0], [2.0]) == [4.0, 6.0]


def _cost(result: Sequence[float], preferred: Sequence[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(result, preferred, strict=True))
