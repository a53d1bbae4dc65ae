"""Arrays as sources: digits, CIFAR, and .npz files, also with errors in them."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torchvision

from midas.data.arrays import npz
from midas.data.config import DataConfig
from midas.data.prepare import open_source, prepare
from midas.data.prepared import load_split
from midas.io.errors import DataError

SHARED = os.environ.get("MIDAS_SHARED_DATA")


def arrays(n=30, classes=3, shape=(8, 8, 3), seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    return {"images": images, "labels": np.arange(n) % classes}


def test_digits_are_split_in_proportion(tmp_path):
    meta = prepare(DataConfig(image_size=16), tmp_path)
    assert meta.counts == {"train": 1294, "val": 144, "test": 359}
    assert (meta.size, meta.classes) == (16, tuple("0123456789"))
    train = load_split(tmp_path / "train.safetensors")
    assert train.images.shape == (1294, 3, 16, 16)
    assert int(train.images.max()) == 255
    assert (train.images[:, 0] == train.images[:, 2]).all()


def test_digits_keep_their_size_by_default(tmp_path):
    assert prepare(DataConfig(), tmp_path).size == 8


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4)])
def test_an_npz_file_of_any_channels_is_split_by_fraction(tmp_path, shape):
    np.savez(tmp_path / "a.npz", **arrays(shape=shape))
    meta = prepare(DataConfig(source="npz", root=str(tmp_path / "a.npz")), tmp_path / "out")
    assert meta.counts == {"train": 21, "val": 3, "test": 6}
    assert meta.classes == ("0", "1", "2")
    assert load_split(tmp_path / "out" / "test.safetensors").images.shape == (6, 3, 8, 8)


def test_npz_pixels_are_not_changed(tmp_path):
    np.savez(tmp_path / "a.npz", **(raw := arrays()))
    source = npz(tmp_path / "a.npz")
    pixels = np.zeros_like(raw["images"])
    assert source.decode([source.splits["train"]], [pixels]) == {}
    assert (pixels == raw["images"]).all()


def test_labels_of_an_npz_file_may_have_any_integer_type(tmp_path):
    raw = arrays()
    np.savez(tmp_path / "a.npz", images=raw["images"], labels=raw["labels"].astype(np.uint8))
    assert npz(tmp_path / "a.npz").classes == ("0", "1", "2")


@pytest.mark.parametrize("key", ["classes", "class_names"])
def test_an_npz_file_may_name_its_classes(tmp_path, key):
    np.savez(tmp_path / "a.npz", **arrays(), **{key: np.array(["x", "y", "z"])})
    assert npz(tmp_path / "a.npz").classes == ("x", "y", "z")


def test_class_names_may_be_bytes(tmp_path):
    names = np.array([b"cat", "dächs".encode(), b"\xef\xbb\xbfemu"])
    np.savez(tmp_path / "a.npz", **arrays(), classes=names)
    assert npz(tmp_path / "a.npz").classes == ("cat", "dächs", "emu")


def test_the_files_in_a_folder_of_npz_files_are_its_splits(tmp_path):
    for split, n in [("train", 30), ("test", 9), ("val", 6)]:
        np.savez(tmp_path / f"my_{split}.npz", **arrays(n, seed=n))
    meta = prepare(DataConfig(source="npz", root=str(tmp_path)), tmp_path / "out")
    assert meta.counts == {"train": 30, "val": 6, "test": 9}
    assert meta.duplicates == 0


def save_changed(path: Path, **changes) -> Path:
    content = {key: value for key, value in {**arrays(), **changes}.items() if value is not None}
    np.savez(path / "a.npz", **content)
    return path / "a.npz"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": np.array([0, 1, 7] * 10), "classes": np.array(["x", "y", "z"])},
            r"image 2 of .*a\.npz has the label 7, outside 0\.\.\.2 \(10",
        ),
        (
            {"labels": np.array([0, 1, -1] * 10)},
            r"image 2 of .*a\.npz has the label -1, outside 0\.\.\.1",
        ),
        ({"labels": np.arange(29)}, r"labels are int64 \[29\]; it needs 30 integers"),
        ({"labels": np.zeros(30)}, "labels are float64"),
        ({"labels": None}, "has no array named labels"),
        ({"images": np.zeros((30, 8, 8, 3), dtype=np.float32)}, "images are float32"),
        ({"images": np.zeros((30, 3, 8, 8), dtype=np.uint8)}, r"images are uint8 \[30, 3, 8, 8\]"),
        ({"images": np.array([None] * 30, dtype=object)}, "without pickled objects"),
    ],
)
def test_errors_in_an_npz_file_are_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message) as caught:
        npz(save_changed(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_labels_of_the_test_file_must_be_classes_of_the_training_file(tmp_path):
    np.savez(tmp_path / "train.npz", **arrays(classes=2))
    np.savez(tmp_path / "test.npz", **arrays(classes=3))
    with pytest.raises(
        DataError, match=r"image 2 of .*test\.npz has the label 2, outside 0\.\.\.1"
    ):
        npz(tmp_path)


def test_a_file_that_is_not_an_npz_file_is_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(DataError, match=r"a\.npz: is not readable"):
        npz(tmp_path / "a.npz")


def test_missing_and_ambiguous_npz_files_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: there is no such file or folder"):
        npz(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"needs one .npz file named train and has none"):
        npz(tmp_path)
    for name in ("train_1", "train_2", "test"):
        np.savez(tmp_path / f"{name}.npz", **arrays())
    with pytest.raises(DataError, match=r"has train_1\.npz, train_2\.npz"):
        npz(tmp_path)


def test_one_file_cannot_stand_for_two_splits(tmp_path):
    for name in ("train", "eval_test", "val_train_not"):
        np.savez(tmp_path / f"{name}.npz", **arrays())
    (tmp_path / "val_train_not.npz").unlink()
    with pytest.raises(DataError, match="stands for two splits"):
        npz(tmp_path)


@pytest.mark.parametrize("source", ["cifar10", "cifar100"])
def test_missing_cifar_files_name_the_folder_and_the_parameter(tmp_path, source):
    with pytest.raises(
        DataError, match=r"cifar-10.* files are missing or damaged; .*data\.download: true"
    ) as caught:
        open_source(DataConfig(source=source, root=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_cifar_without_a_network_is_an_error_of_one_line(tmp_path, monkeypatch):
    """torchvision's download is replaced by the error that it raises without a network."""

    def offline(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", offline)
    with pytest.raises(
        DataError,
        match=r"cifar10 could not be downloaded .*no route to host.*put the official files there",
    ):
        open_source(DataConfig(source="cifar10", root=str(tmp_path), download=True))


@pytest.mark.skipif(not SHARED, reason="MIDAS_SHARED_DATA is not set")
def test_official_cifar_files_are_read_offline(tmp_path):
    subprocess.run(
        [sys.executable, Path(SHARED) / "unpack.py", "cifar10", tmp_path],
        check=True,
        capture_output=True,
    )
    config = DataConfig(source="cifar10", root=str(tmp_path), max_images=500)
    meta = prepare(config, tmp_path / "out")
    assert meta.counts == {"train": 500, "val": 5000, "test": 10000}
    assert meta.classes[0] == "airplane"
    assert (
        load_split(tmp_path / "out" / "test.safetensors").labels.bincount().tolist() == [1000] * 10
    )
    assert meta.duplicates == 0
