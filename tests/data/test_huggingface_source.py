"""Hugging Face data sets on the disk are read like a folder of the same images."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_shards_source import pixels_in, png

from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.data.prepared import load_split
from midas.io.errors import DataError

datasets = pytest.importorskip("datasets", reason="the extra huggingface")
parquet = pytest.importorskip("pyarrow.parquet", reason="the extra huggingface")
pyarrow = pytest.importorskip("pyarrow", reason="the extra huggingface")
CLASSES = ["cat", "dög"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def table(
    first: int, count: int, label=lambda k: k % 2, image=png, names=CLASSES, **columns: Any
) -> Any:
    """Make `count` rows of two classes in turn."""
    rows = range(first, first + count)
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
    content = {
        "image": [{"bytes": image(k), "path": None} for k in rows],
        "label": [label(k) for k in rows],
    }
    for name, feature in columns.items():
        features[name] = feature
        content[name] = content["image" if isinstance(feature, datasets.Image) else "label"]
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


def repository(root: Path, splits: dict[str, Any]) -> Path:
    """Write a parquet file for each split, like a downloaded repository of the hub."""
    (root / "data").mkdir(parents=True)
    for name, rows in splits.items():
        rows.to_parquet(root / "data" / f"{name}-00000-of-00001.parquet")
    return root


def saved(root: Path, splits: dict[str, Any]) -> Path:
    datasets.DatasetDict(splits).save_to_disk(root)
    return root


def run(root: Path, **parameters: Any):
    return prepare(
        DataConfig(source="huggingface", root=str(root), image_size=8, **parameters),
        root.parent / "out",
    )


def assert_refused(root: Path, message: str, **parameters: Any) -> None:
    with pytest.raises(DataError, match=message) as caught:
        run(root, **parameters)
    assert "\n" not in str(caught.value)
    assert not [*(root.parent / "out").rglob("*")]


@pytest.mark.parametrize("write", [repository, saved])
def test_a_data_set_is_read_like_a_folder_of_the_same_images(tmp_path, write):
    splits = {"train": table(0, 20), "validation": table(20, 4), "test": table(24, 6)}
    meta = run(write(tmp_path / "x", splits))
    for split, rows in (("train", range(20)), ("val", range(20, 24)), ("test", range(24, 30))):
        for k in rows:
            path = tmp_path / "y/images" / split / CLASSES[k % 2] / f"{k:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(k))
    config = DataConfig(source="folder", root=str(tmp_path / "y/images"), image_size=8)
    folder = prepare(config, tmp_path / "y/out")
    assert meta.classes == folder.classes == ("cat", "dög")
    assert meta.counts == folder.counts == {"train": 20, "val": 4, "test": 6}
    assert pixels_in(tmp_path / "out") == pixels_in(tmp_path / "y/out")
    assert load_split(tmp_path / "out/test.safetensors").labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_a_single_table_is_split_by_fraction(tmp_path):
    table(0, 40).save_to_disk(tmp_path / "x")
    assert run(tmp_path / "x").counts == {"train": 29, "val": 3, "test": 8}


def test_validation_is_the_test_split_if_test_has_no_labels(tmp_path):
    splits = {
        "train": table(0, 20),
        "validation": table(20, 6),
        "test": table(26, 4, label=lambda k: -1),
    }
    counts = run(saved(tmp_path / "x", splits), val_fraction=0.2).counts
    assert counts == {"train": 16, "val": 4, "test": 6}
    assert torch.equal(
        load_split(tmp_path / "out/test.safetensors").labels, torch.tensor([0, 1] * 3)
    )


def test_a_broken_image_is_named_by_its_row(tmp_path):
    broken = table(0, 20, image=lambda k: b"no image" if k == 3 else png(k))
    root = saved(tmp_path / "x", {"train": broken, "test": table(20, 4)})
    assert_refused(root, r"1 of 24 images cannot be read: row 3 of train \(not an image\)")
    assert run(root, max_unreadable=1).counts == {"train": 17, "val": 2, "test": 4}


def test_a_path_that_leads_out_of_the_folder_is_not_opened(tmp_path):
    (tmp_path / "private.png").write_bytes(png(0))
    rows = [{"bytes": png(k), "path": None} for k in range(20)]
    rows[2] = {"bytes": None, "path": str(tmp_path / "private.png")}
    features = table(0, 1).features
    written = pyarrow.table(
        {"image": rows, "label": [k % 2 for k in range(20)]}, schema=features.arrow_schema
    )
    root = repository(tmp_path / "x", {"test": table(20, 4)})
    # `datasets` would open the path while it writes the table, so pyarrow writes it
    parquet.write_table(written, root / "data/train-00000-of-00001.parquet")
    reason = "it holds no bytes, and its path is not a file in the data set's folder"
    assert_refused(root, rf"row 2 of train \({reason}\)")


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"test": table(0, 8)}, "has no split `train`"),
        (
            {"train": table(0, 8), "val": table(8, 4), "dev": table(8, 4)},
            "two of its splits stand for val",
        ),
        (
            {"train": table(0, 8, back=datasets.Image())},
            r"one column of type Image and has 2 \(image, back\)",
        ),
        (
            {"train": table(0, 8).remove_columns("label")},
            r"type ClassLabel and has 0 \(image: Image\)",
        ),
        (
            {"train": table(0, 8), "test": table(8, 4, names=["dög", "cat"])},
            "test has not train's columns .* or has other classes",
        ),
        (
            {"train": table(0, 8, label=lambda k: -1 if k == 5 else 0)},
            r"row 5 of train has the label -1, outside 0\.\.\.1 \(1",
        ),
    ],
)
def test_errors_in_a_data_set_are_named(tmp_path, splits, message):
    assert_refused(saved(tmp_path / "x", splits), message)


def test_a_folder_that_is_not_a_data_set_is_refused(tmp_path):
    assert_refused(tmp_path / "none", "there is no such folder; `hf download")
    (tmp_path / "x").mkdir()
    assert_refused(tmp_path / "x", "cannot be read as a Hugging Face data set")


def test_a_missing_label_or_image_is_named_by_its_row(tmp_path):
    labels = table(0, 20, label=lambda k: None if k in (3, 5) else k % 2)
    assert_refused(
        saved(tmp_path / "x", {"train": labels}), r"row 3 of train has no label \(2 such rows\)"
    )
    features = table(0, 1).features
    rows = {"image": [None if k == 5 else {"bytes": png(k), "path": None} for k in range(20)]}
    images = datasets.Dataset.from_dict({**rows, "label": [k % 2 for k in range(20)]}, features)
    root = saved(tmp_path / "y", {"train": images, "test": table(20, 4)})
    assert_refused(root, r"1 of 24 images .*: row 5 of train \(the row holds no image\)")
    assert run(root, max_unreadable=1).counts == {"train": 17, "val": 2, "test": 4}
