"""Read a Hugging Face data set on the disk: a downloaded repository, or a saved data set."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from midas.data.image_source import ImageSource
from midas.data.listing import Tree, split_of
from midas.data.pictures import open_image
from midas.data.prepared import SPLITS
from midas.io.errors import DataError, listed, reason


def huggingface(root: Path) -> ImageSource:
    """List the images of a data set's `train`, `test` and `validation` splits.

    The data set has one column of images and one of class labels. A split whose labels are all -1,
    as some test splits have, is passed over. Nothing is downloaded, and no code of a repository
    runs.
    """
    where = f"data.root: {root}"
    tree = Tree(root)
    tables = _find_splits(where, tree)
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
        values = table.with_format(None)[label][:]
        if None in values:
            problem = f"row {values.index(None)} of {split} has no label"
            raise DataError(f"{where}: {problem} ({values.count(None)} such rows); remove them")
        if values and max(values) == min(values) == -1:
            tree.skipped.add(f"rows of {split}, all labels -1", number=len(values))
        else:
            labels[split] = np.asarray(values, dtype=np.int64)
            encoded = type(features[image])(decode=False)
            images[split] = table.select_columns([image]).cast_column(image, encoded)
    return ImageSource.from_splits(
        where,
        classes,
        labels,
        lambda split, row: _open(images[split][row][image], root),
        lambda split, row: f"row {row} of {split}",
        tree,
    )


def _find_splits(where: str, tree: Tree) -> dict[str, Any]:
    """Load the tables (`datasets.Dataset`) of train and, if there are any, val and test."""
    tables: dict[str, Any] = {}
    loaded = _load(where, tree.root)
    for name, table in loaded.items():
        split = split_of(name)
        if split is None:
            tree.skipped.add(f"rows of the split {name}", number=len(table))
        elif split in tables:
            raise DataError(f"{where}: two of its splits stand for {split}; keep one of them")
        else:
            tables[split] = table
    if "train" not in tables:
        raise DataError(f"{where}: has no split `train`, but {listed(loaded)}")
    behind = Tree(tree.root)  # `datasets` follows links, too
    behind.files(tree.root)
    tree.links = behind.links
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
        raise DataError(
            f"{where}: cannot be read as a Hugging Face data set ({reason(error)})"
        ) from error
    return dict(tables) if isinstance(tables, dict) else {"train": tables}


def _find_column(where: str, features: Any, kind: str) -> str:
    """Return the name of the only column of a kind."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    names = [name for name in kinds if kinds[name] == kind]
    if len(names) != 1:
        shown = listed(names or map(": ".join, kinds.items()))
        raise DataError(f"{where}: needs one column of type {kind} and has {len(names)} ({shown})")
    return str(names[0])


def _open(value: dict[str, Any] | None, root: Path) -> Image.Image:
    """Open an image from its bytes, or from a file in the data set's folder."""
    if value is None:
        raise ValueError("the row holds no image")
    if value["bytes"] is not None:
        return open_image(io.BytesIO(value["bytes"]))
    path = Path(value["path"] or "")
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise ValueError("it holds no bytes, and its path is not a file in the data set's folder")
    return open_image(path)
