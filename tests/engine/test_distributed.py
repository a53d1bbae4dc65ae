"""What the processes of a run share, seen from one of them."""

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from midas.engine.distributed import Distributed, ProcessLost


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
def test_the_parts_of_all_processes_are_the_batch_in_order(
    size: int, accumulate: int, each: int
) -> None:
    length = size * accumulate * each
    parts = [
        part for rank in range(size) for part in Distributed(rank, size).parts(length, accumulate)
    ]
    assert [number for number, _ in parts] == list(range(size * accumulate))
    places = [list(range(length))[place] for _, place in parts]
    assert {len(place) for place in places} == {each}
    assert [i for place in places for i in place] == list(range(length))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_parts_and_their_numbers_do_not_depend_on_who_runs_them(
    size: int, accumulate: int, each: int
) -> None:
    """Several processes run the same parts as one process that accumulates as many."""
    length = size * accumulate * each
    alone = Distributed().parts(length, size * accumulate)
    shared = [
        part for rank in range(size) for part in Distributed(rank, size).parts(length, accumulate)
    ]
    assert shared == alone


def test_a_process_alone_leaves_tensors_as_they_are() -> None:
    values = torch.rand(3)
    expected = values.clone()
    alone = Distributed()
    assert alone.all_reduce_sum(values) is values
    alone.all_reduce_mean([values])
    assert torch.equal(values, expected)
    assert alone.is_main
    assert not Distributed(1, 2).is_main


def test_means_are_written_back_into_tensors_of_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_twice_as_much(values: torch.Tensor) -> None:
        values += 2 * values  # the other process has twice as much

    monkeypatch.setattr(dist, "all_reduce", with_twice_as_much)
    tensors = [torch.rand(2, 3), torch.rand(()), torch.rand(4, 1).T]
    expected = [1.5 * tensor for tensor in tensors]
    Distributed(0, 2).all_reduce_mean(iter(tensors))
    for tensor, mean in zip(tensors, expected, strict=True):
        torch.testing.assert_close(tensor, mean)


def test_a_lost_process_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(values: torch.Tensor) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(dist, "all_reduce", closed)
    with pytest.raises(ProcessLost, match="process 1 of 2: another process of the run has ended"):
        Distributed(1, 2).all_reduce_sum(torch.zeros(1))
