"""Where the parts of a cell's picture lie."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas.report.layout import spaced

places = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12)


@given(places, st.data())
def test_spaced_places_keep_their_order_and_gaps(wanted: list[float], data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.floats(0, 50), min_size=len(wanted) - 1, max_size=len(wanted) - 1))
    got = spaced(wanted, gaps)
    assert all(b - a >= gap - 1e-9 for (a, b), gap in zip(pairwise(got), gaps, strict=True))


@given(places)
def test_places_that_are_free_already_are_left_alone(wanted: list[float]) -> None:
    ordered = sorted(wanted)
    assert spaced(ordered, [0.0] * (len(ordered) - 1)) == pytest.approx(ordered)


@given(places, st.data())
def test_no_other_allowed_places_are_nearer(wanted: list[float], data: st.DataObject) -> None:
    gaps = [1.0] * (len(wanted) - 1)
    shifts = data.draw(st.lists(st.floats(0, 5), min_size=len(wanted), max_size=len(wanted)))
    got = spaced(wanted, gaps)
    # moving everything from some place on to the right keeps order and gaps, so it must not be an improvement
    for first, shift in enumerate(shifts):
        other = [y + shift if k >= first else y for k, y in enumerate(got)]
        assert _cost(other, wanted) >= _cost(got, wanted) - 1e-6


def test_two_that_want_the_same_place_share_the_loss() -> None:
    assert spaced([5.0, 5.0], [2.0]) == [4.0, 6.0]


def _cost(places_: list[float], wanted: list[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(places_, wanted, strict=True))
