"""The data stage: its parameters, splits, statistics, fingerprint and printed summary."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from midas.data.config import DataConfig
from midas.data.image_source import ImageSource
from midas.data.prepare import divide, prepare, statistics
from midas.data.prepared import load_split
from midas.io.errors import DataError, ParamsError
from pipeline import console
from pipeline.data import command
from pipeline.params import section as read_section


def grey_images(counts: list[int]) -> ImageSource:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    names = tuple(f"class {i}" for i in range(len(counts)))
    splits = {"train": torch.arange(len(labels))}
    return ImageSource("here", names, labels, splits, lambda i: Image.new("L", (8, 8), i), str)


@given(
    st.lists(st.integers(3, 30), min_size=2, max_size=6),
    st.floats(0.05, 0.5),
    st.floats(0.01, 0.5),
    st.integers(0, 999),
)
def test_three_images_of_each_class_are_enough_for_three_splits(
    counts, test_fraction, val_fraction, seed
):
    source = grey_images(counts)
    config = DataConfig(test_fraction=test_fraction, val_fraction=val_fraction, split_seed=seed)
    indices = divide(source, config)
    assert torch.cat(list(indices.values())).sort().values.tolist() == list(range(sum(counts)))
    assert all(
        source.labels[index].bincount(minlength=len(counts)).min() >= 1
        for index in indices.values()
    )


def test_max_images_does_not_change_the_validation_and_test_splits():
    source = grey_images([40, 60])
    whole, few = (divide(source, DataConfig(max_images=limit)) for limit in (None, 10))
    assert len(few["train"]) == 10
    assert set(few["train"].tolist()) < set(whole["train"].tolist())
    assert torch.equal(few["val"], whole["val"])
    assert torch.equal(few["test"], whole["test"])


def test_max_images_below_the_number_of_classes_is_refused():
    with pytest.raises(DataError, match=r"data\.max_images: 2 is less than the 3 classes"):
        divide(grey_images([9, 9, 9]), DataConfig(max_images=2))


def test_statistics_equal_those_of_the_pixels():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2000, 3, 4, 4), generator=generator, dtype=torch.uint8)
    pixels = images.double() / 255
    mean, std = statistics(images)
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3), unbiased=False), rtol=1e-12)


def test_a_channel_of_one_value_has_a_deviation_above_zero():
    assert statistics(torch.full((4, 3, 2, 2), 7, dtype=torch.uint8))[1] == (1e-3, 1e-3, 1e-3)


def test_the_fingerprint_changes_with_a_pixel_a_label_and_a_class(tmp_path):
    images, labels = np.zeros((12, 8, 8), dtype=np.uint8), np.arange(12) % 2
    images[:, 0, 0] = np.arange(12)
    other_images, other_labels = images.copy(), labels.copy()
    other_images[3, 5, 5] = 1
    other_labels[:2] = [1, 0]
    variants = [
        (images, labels, "ab"),
        (images, labels, "ab"),
        (other_images, labels, "ab"),
        (images, other_labels, "ab"),
        (images, labels, "ac"),
    ]
    fingerprints = []
    for i, (pixels, classes, names) in enumerate(variants):
        path = tmp_path / f"{i}.npz"
        np.savez(path, images=pixels, labels=classes, classes=np.array(list(names)))
        meta = prepare(DataConfig(source="npz", root=str(path)), tmp_path / "out")
        fingerprints.append(meta.fingerprint)
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 4


@pytest.mark.parametrize(
    "section",
    [
        {"image_size": 3},
        {"source": "mnist"},
        {"val_fraction": 0},
        {"test_fraction": 0.6},
        {"colour": 1},
    ],
)
def test_invalid_parameters_are_refused(section):
    with pytest.raises(ValidationError):
        DataConfig.model_validate(section)


def test_the_stage_prepares_the_source_of_the_parameters_and_prints_a_summary(
    tmp_path, monkeypatch, capsys
):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=np.arange(30) % 3)
    np.savez(tmp_path / "test.npz", images=images[:6], labels=np.arange(6) % 3)
    (tmp_path / "params.yaml").write_text("data: {source: npz, root: .}\n")
    monkeypatch.chdir(tmp_path)
    console.show(command())
    printed = capsys.readouterr()
    lines = {" ".join(line.split()) for line in printed.out.splitlines()}
    assert {
        "data npz",
        "classes 3",
        "size 8x8 pixels",
        "train images 27",
        "val images 3",
        "test images 6",
        "fewest training images a class 9 (0)",
    } <= lines
    assert "warning: 6 test images equal one in train or val" in printed.err
    assert len(load_split(tmp_path / "artifacts/data/test.safetensors")) == 6


def test_the_error_for_an_unknown_parameter_names_the_allowed_ones(tmp_path):
    (tmp_path / "params.yaml").write_text("data: {sorce: npz}\n")
    with pytest.raises(ParamsError, match=r"data\.sorce: unknown key; allowed are source, root"):
        read_section("data", DataConfig, tmp_path / "params.yaml")
