"""Splits are in proportion, and follow from labels and a seed alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from midas.data.splits import split_in_halves, stratified, subset
from midas.io.errors import DataError

SEEDS = st.integers(0, 2**31)


def labels_of(counts: list[int], seed: int) -> torch.Tensor:
    ordered = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return ordered[torch.randperm(len(ordered), generator=torch.Generator().manual_seed(seed))]


@given(
    st.lists(st.integers(3, 40), min_size=1, max_size=8),
    st.floats(0.01, 0.9),
    SEEDS,
    st.sampled_from([1, 2]),
)
def test_a_split_is_a_partition_that_leaves_each_class_on_both_sides(counts, fraction, seed, keep):
    labels = labels_of(counts, seed)
    kept, held = stratified(labels, fraction, seed, "test", keep)
    assert torch.cat([kept, held]).sort().values.tolist() == list(range(len(labels)))
    assert labels[kept].bincount(minlength=len(counts)).min() >= keep
    assert labels[held].bincount(minlength=len(counts)).min() >= 1


@given(st.lists(st.integers(20, 60), min_size=1, max_size=8), st.floats(0.1, 0.5), SEEDS)
def test_a_split_has_the_requested_size_and_each_class_its_share_within_one(counts, fraction, seed):
    labels = labels_of(counts, seed)
    _, held = stratified(labels, fraction, seed, "val")
    assert len(held) == round(fraction * len(labels))
    for count, share in zip(
        counts, labels[held].bincount(minlength=len(counts)).tolist(), strict=True
    ):
        assert abs(share - len(held) * count / len(labels)) < 1


def test_a_split_depends_on_its_seed_and_its_purpose_only():
    labels = labels_of([50, 50], 0)
    held_out = [
        stratified(labels, 0.2, seed, purpose)[1].tolist()
        for seed, purpose in [(3, "a"), (3, "a"), (4, "a"), (3, "b")]
    ]
    assert held_out[0] == held_out[1]
    assert held_out[0] != held_out[2]
    assert held_out[0] != held_out[3]


def test_the_choice_for_a_seed_never_changes():
    """These indices are fixed: another choice would silently change every published number."""
    assert stratified(labels_of([6, 4], 0), 0.3, seed=0, purpose="test")[1].tolist() == [3, 6, 7]


def test_a_class_of_one_image_cannot_be_split():
    with pytest.raises(DataError, match="class 1 has too few images; each class needs 2"):
        stratified(torch.tensor([0, 0, 0, 1]), 0.5, seed=0, purpose="test")


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 100), SEEDS)
def test_a_subset_has_the_requested_size_and_every_class(counts, extra, seed):
    labels = labels_of(counts, seed)
    total = min(len(counts) + extra, len(labels))
    chosen = subset(labels, total, seed)
    assert len(chosen) == len(chosen.unique()) == total
    assert labels[chosen].bincount(minlength=len(counts)).min() >= 1


def test_a_subset_larger_than_the_data_is_everything():
    assert subset(torch.tensor([0, 1, 0]), 10, seed=0).tolist() == [0, 1, 2]


def test_a_subset_smaller_than_the_number_of_classes_is_refused():
    with pytest.raises(DataError, match=r"data\.max_images: 2 is less than the 3 classes"):
        subset(torch.tensor([0, 1, 2, 2]), 2, seed=0)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), SEEDS)
def test_the_bilevel_split_divides_every_class_evenly(counts, seed):
    labels = labels_of(counts, seed)
    weights, architecture = split_in_halves(labels, seed)
    assert torch.cat([weights, architecture]).sort().values.tolist() == list(range(len(labels)))
    assert 0 <= len(weights) - len(architecture) <= 1
    shares = [labels[side].bincount(minlength=len(counts)) for side in (weights, architecture)]
    assert (shares[0] - shares[1]).abs().max() <= 1
