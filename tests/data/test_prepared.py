"""Prepared splits and meta.json are read as they were written, and damage is named."""

import dataclasses
import json

import pytest
import safetensors.torch
import torch

from midas.data.prepared import (
    DataMeta,
    Split,
    load_meta,
    load_split,
    new_split,
    save_meta,
    save_split,
)
from midas.io.errors import DataError

META = DataMeta(
    classes=("cat", "dög"),
    size=8,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    counts={"train": 3, "val": 2, "test": 2},
    fingerprint="0" * 64,
    source="folder",
    resize={"resize": 8, "interpolation": "bilinear", "crop": "center"},
    duplicates=0,
)


@pytest.fixture
def split():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (5, 6, 6, 3), generator=generator, dtype=torch.uint8)
    return Split(pixels.permute(0, 3, 1, 2), torch.tensor([0, 1, 0, 1, 1]))


def test_a_split_is_read_as_it_was_written_in_channels_last_memory(tmp_path, split):
    save_split(tmp_path / "train.safetensors", split)
    loaded = load_split(tmp_path / "train.safetensors")
    assert torch.equal(loaded.images, split.images)
    assert torch.equal(loaded.labels, split.labels)
    assert len(loaded) == 5
    assert loaded.images.is_contiguous(memory_format=torch.channels_last)


def test_equal_splits_give_equal_bytes_in_any_memory_format(tmp_path, split):
    save_split(tmp_path / "a", split)
    save_split(tmp_path / "b", Split(split.images.contiguous(), split.labels.clone()))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_file_of_a_split_has_the_bytes_that_safetensors_writes(tmp_path, split):
    for images, labels in ((split.images, split.labels), (split.images[:0], split.labels[:0])):
        save_split(tmp_path / "a", Split(images, labels))
        pixels = images.permute(0, 2, 3, 1).contiguous()
        assert (tmp_path / "a").read_bytes() == safetensors.torch.save(
            {"images": pixels, "labels": labels}
        )


def test_an_unfinished_split_leaves_the_older_file(tmp_path, split):
    def stop_in_the_middle():
        with new_split(tmp_path / "a", split.labels, 6) as pixels:
            pixels[0] = 255
            raise RuntimeError("in the middle")

    save_split(tmp_path / "a", split)
    with pytest.raises(RuntimeError, match="in the middle"):
        stop_in_the_middle()
    assert torch.equal(load_split(tmp_path / "a").images, split.images)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_error_for_a_missing_split_names_the_stage_to_run(tmp_path):
    with pytest.raises(
        DataError, match=r"train\.safetensors: there is no such file; run the data stage"
    ):
        load_split(tmp_path / "train.safetensors")


def test_a_truncated_split_is_damaged(tmp_path, split):
    save_split(tmp_path / "t", split)
    (tmp_path / "t").write_bytes((tmp_path / "t").read_bytes()[:-10])
    with pytest.raises(DataError, match="t: is damaged"):
        load_split(tmp_path / "t")


def test_other_tensors_are_not_a_split(tmp_path, split):
    safetensors.torch.save_file(
        {"images": split.images.permute(0, 2, 3, 1), "labels": split.labels[:-1]}, tmp_path / "t"
    )
    with pytest.raises(DataError, match="does not hold a split"):
        load_split(tmp_path / "t")


def test_meta_is_read_as_it_was_written(tmp_path):
    save_meta(tmp_path / "meta.json", META)
    assert load_meta(tmp_path / "meta.json") == META


def test_the_error_for_missing_meta_names_the_stage_to_run(tmp_path):
    with pytest.raises(DataError, match="there is no such file; run the data stage"):
        load_meta(tmp_path / "meta.json")


@pytest.mark.parametrize(
    "text", ["{", "[]", json.dumps({**dataclasses.asdict(META), "size": "big"})]
)
def test_the_error_for_damaged_meta_is_one_line(tmp_path, text):
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(DataError, match=r"meta\.json.*run the data stage") as caught:
        load_meta(tmp_path / "meta.json")
    assert "\n" not in str(caught.value)
