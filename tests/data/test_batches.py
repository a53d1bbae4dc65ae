"""Batches hold every image once an epoch, in an order that follows from seed and epoch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from midas.data.batches import epoch_batches, sequential_batches
from midas.io.errors import DataError


@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 99), st.integers(0, 99))
def test_an_epoch_contains_every_image_once(n, size, seed, epoch):
    batches = epoch_batches(n, size, seed, epoch, drop_last=False)
    assert torch.cat(batches).sort().values.tolist() == list(range(n))
    assert {len(batch) for batch in batches[:-1]} <= {size}


def test_only_full_batches_are_kept_by_default():
    assert [len(batch) for batch in epoch_batches(10, 4, seed=0, epoch=0)] == [4, 4]
    assert [len(batch) for batch in epoch_batches(8, 4, seed=0, epoch=0)] == [4, 4]


def test_the_order_follows_from_seed_and_epoch():
    orders = [
        torch.cat(epoch_batches(64, 8, seed, epoch)).tolist()
        for seed, epoch in [(1, 2), (1, 2), (1, 3), (2, 2)]
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != orders[3]


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(DataError, match="20 images do not fill one batch of 64"):
        epoch_batches(20, 64, seed=0, epoch=0)


def test_sequential_batches_keep_the_order():
    assert [batch.tolist() for batch in sequential_batches(5, 2)] == [[0, 1], [2, 3], [4]]
