"""Data sets of the Hugging Face hub, on the disk: read as a folder of the same images is, what is wrong named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_shards_source import pixels_in, png

from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.data.prepared import load_split
from midas.runs.errors import DataError

datasets = pytest.importorskip("datasets", reason="the extra huggingface")
parquet = pytest.importorskip("pyarrow.parquet", reason="the extra huggingface")
pyarrow = pytest.importorskip("pyarrow", reason="the extra huggingface")
CLASSES = ["cat", "dög"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def table(first: int, count: int, label=lambda k: k % 2, image=png, names=CLASSES, **columns: Any) -> Any:
    """So many rows of two classes in turn."""
    rows = range(first, first + count)
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
    content = {"image": [{"bytes": image(k), "path": None} for k in rows], "label": [label(k) for k in rows]}
    for name, feature in columns.items():
        features[name], content[name] = feature, content["image" if isinstance(feature, datasets.Image) else "label"]
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


def repository(root: Path, splits: dict[str, Any]) -> Path:
    """As the hub has it, and `hf download` gives it: a parquet file for each split."""
    (root / "data").mkdir(parents=True)
    for name, rows in splits.items():
        rows.to_parquet(root / "data" / f"{name}-00000-of-00001.parquet")
    return root


def saved(root: Path, splits: dict[str, Any]) -> Path:
    datasets.DatasetDict(splits).save_to_disk(root)
    return root


def run(root: Path, **parameters: Any):
    return prepare(DataConfig(source="huggingface", root=str(root), image_size=8, **parameters), root.parent / "out")


def refused(root: Path, message: str, **parameters: Any) -> None:
    with pytest.raises(DataError, match=message) as caught:
        run(root, **parameters)
    assert "\n" not in str(caught.value)
    assert not [*(root.parent / "out").rglob("*")]


@pytest.mark.parametrize("write", [repository, saved])
def test_it_is_read_as_a_folder_of_the_same_images(tmp_path, write):
    meta = run(write(tmp_path / "x", {"train": table(0, 20), "validation": table(20, 4), "test": table(24, 6)}))
    for split, rows in (("train", range(20)), ("val", range(20, 24)), ("test", range(24, 30))):
        for k in rows:
            path = tmp_path / "y/images" / split / CLASSES[k % 2] / f"{k:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(k))
    folder = prepare(DataConfig(source="folder", root=str(tmp_path / "y/images"), image_size=8), tmp_path / "y/out")
    assert (
        (meta.classes, meta.counts)
        == (folder.classes, folder.counts)
        == (("cat", "dög"), {"train": 20, "val": 4, "test": 6})
    )
    assert pixels_in(tmp_path / "out") == pixels_in(tmp_path / "y/out")
    assert load_split(tmp_path / "out/test.safetensors").labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_one_table_is_split_here(tmp_path):
    table(0, 40).save_to_disk(tmp_path / "x")
    assert run(tmp_path / "x").counts == {"train": 29, "val": 3, "test": 8}


def test_validation_serves_as_test_where_that_has_no_labels(tmp_path):
    splits = {"train": table(0, 20), "validation": table(20, 6), "test": table(26, 4, label=lambda k: -1)}
    counts = run(saved(tmp_path / "x", splits), val_fraction=0.2).counts
    assert counts == {"train": 16, "val": 4, "test": 6}
    assert torch.equal(load_split(tmp_path / "out/test.safetensors").labels, torch.tensor([0, 1] * 3))


def test_a_broken_image_is_named_by_its_row(tmp_path):
    broken = table(0, 20, image=lambda k: b"no image" if k == 3 else png(k))
    root = saved(tmp_path / "x", {"train": broken, "test": table(20, 4)})
    refused(root, r"1 of 24 images cannot be read: row 3 of train \(not an image\)")
    assert run(root, max_unreadable=1).counts == {"train": 17, "val": 2, "test": 4}


def test_a_path_that_leads_out_of_the_folder_is_not_opened(tmp_path):
    (tmp_path / "private.png").write_bytes(png(0))
    rows = [{"bytes": png(k), "path": None} for k in range(20)]
    rows[2] = {"bytes": None, "path": str(tmp_path / "private.png")}
    features = table(0, 1).features
    written = pyarrow.table({"image": rows, "label": [k % 2 for k in range(20)]}, schema=features.arrow_schema)
    root = repository(tmp_path / "x", {"test": table(20, 4)})
    parquet.write_table(written, root / "data/train-00000-of-00001.parquet")  # `datasets` would read the file now
    refused(root, r"row 2 of train \(the row holds no bytes, and its path is no file in the data set's folder\)")


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"test": table(0, 8)}, "has no split `train`"),
        ({"train": table(0, 8), "val": table(8, 4), "dev": table(8, 4)}, "two of its splits, one of them dev, are val"),
        ({"train": table(0, 8, back=datasets.Image())}, r"one column of type Image, and has 2 \(image, back\)"),
        ({"train": table(0, 8).remove_columns("label")}, r"type ClassLabel, and has 0 \(image: Image\)"),
        ({"train": table(0, 8), "test": table(8, 4, names=["dög", "cat"])}, "test has not the columns .* or other classes"),
        ({"train": table(0, 8, label=lambda k: -1 if k == 5 else 0)}, r"row 5 of train has the label -1, outside 0\.\.\.1 \(1"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_named(tmp_path, splits, message):
    refused(saved(tmp_path / "x", splits), message)


def test_a_folder_of_something_else_is_named(tmp_path):
    refused(tmp_path / "none", "there is no such folder; `hf download")
    (tmp_path / "x").mkdir()
    refused(tmp_path / "x", "cannot be read as a Hugging Face data set")
