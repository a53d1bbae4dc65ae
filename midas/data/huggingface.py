"""Read a Hugging Face data set on the disk: a downloaded repository, or a saved data set."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from midas.data.image_source import ImageSource
from midas.data.pictures import FORMATS
from midas.data.prepared import SPLITS
from midas.io.errors import DataError

_ALIASES = {"valid": "val", "validation": "val", "dev": "val"}  # of the names of splits


def huggingface(root: Path) -> ImageSource:
    """List the images of a data set's `train`, `test` and `validation` splits.

    The data set has one column of images and one of class labels. A split whose labels are all -1,
    as some test splits have, is ignored. Nothing is downloaded, and no code of a repository runs.
    """
    where = f"data.root: {root}"
    tables = _find_splits(where, root)
    features = tables["train"].features
    image = _find_column(where, features, "Image")
    label = _find_column(where, features, "ClassLabel")
    classes = list(features[label].names)
    labels: dict[str, npt.NDArray[np.int64]] = {}
    images: dict[str, Any] = {}
    for split, table in tables.items():
        names = getattr(table.features.get(label), "names", None)
        if image not in table.features or names != classes:
            problem = f"{split} has not train's columns {image} and {label}, or has other classes"
            raise DataError(f"{where}: {problem}; make the splits alike")
        values = np.asarray(table.with_format("numpy")[label][:], dtype=np.int64)
        if len(values) == 0 or (values != -1).any():
            labels[split] = values
            encoded = type(features[image])(decode=False)
            images[split] = table.select_columns([image]).cast_column(image, encoded)
    return ImageSource.from_splits(
        where,
        classes,
        labels,
        lambda split, row: _open(images[split][row][image], root),
        lambda split, row: f"row {row} of {split}",
    )


def _find_splits(where: str, root: Path) -> dict[str, Any]:
    """Load the tables (`datasets.Dataset`) of train and, if there are any, val and test."""
    tables: dict[str, Any] = {}
    for name, table in _load(where, root).items():
        split = _ALIASES.get(name, name)
        if split in tables:
            raise DataError(f"{where}: two of its splits stand for {split}; keep one of them")
        tables[split] = table
    if "train" not in tables:
        raise DataError(f"{where}: has no split `train`")
    return {split: tables[split] for split in SPLITS if split in tables}


def _load(where: str, root: Path) -> dict[str, Any]:
    try:
        import datasets
    except ImportError as error:
        problem = "data.source: huggingface needs `datasets`"
        raise DataError(f"{problem} (pip install 'midas-nas[huggingface]')") from error
    if not root.is_dir():
        advice = "`hf download NAME --repo-type dataset` makes one"
        raise DataError(f"{where}: there is no such folder; {advice}")
    datasets.disable_progress_bars()
    is_saved = any((root / name).is_file() for name in ("dataset_dict.json", "state.json"))
    load = datasets.load_from_disk if is_saved else datasets.load_dataset
    try:
        tables = load(str(root.absolute()))
    except Exception as error:  # it raises nearly anything on what it cannot read
        raise DataError(f"{where}: cannot be read as a Hugging Face data set ({error})") from error
    return dict(tables) if isinstance(tables, dict) else {"train": tables}


def _find_column(where: str, features: Any, kind: str) -> str:
    """Return the name of the only column of a kind."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    names = [name for name in kinds if kinds[name] == kind]
    if len(names) != 1:
        listed = ", ".join(names or map(": ".join, kinds.items()))
        raise DataError(f"{where}: needs one column of type {kind} and has {len(names)} ({listed})")
    return str(names[0])


def _open(value: dict[str, Any], root: Path) -> Image.Image:
    """Open an image from its bytes, or from a file in the data set's folder."""
    if value["bytes"] is not None:
        return Image.open(io.BytesIO(value["bytes"]), formats=FORMATS)
    path = Path(value["path"])
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise ValueError("it holds no bytes, and its path is not a file in the data set's folder")
    return Image.open(path, formats=FORMATS)
