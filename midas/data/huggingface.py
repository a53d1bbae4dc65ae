"""A source that is a Hugging Face data set on the disk: a downloaded repository, or what `save_to_disk` wrote.

`datasets` is the reader, as in timm's `hfds` reader, which decodes whole splits by name and so gives neither class names nor
a broken image's place.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from midas.data.pictures import FORMATS
from midas.data.pool import Pool
from midas.runs.errors import DataError

_SPLITS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val", "dev": "val"}


def huggingface(root: Path) -> Pool:
    """The images of a data set's `train`, `test` and `validation` splits; other splits are passed over.

    The labels are the one column of class labels, the images the one column of images. A split whose labels are all -1, as
    those of some test splits are, is passed over too. Nothing is downloaded, and no code of a repository is run.

    Raises:
        DataError: `datasets` is not installed, cannot read the folder, there are no or several columns of images or of class
            labels, the splits' classes differ, or a label is outside the classes.
    """
    named: dict[str, Any] = {}
    for name, table in _load(root).items():
        split = _SPLITS.get(name)
        if split in named:
            raise DataError(f"data.root: {root}: two of its splits, one of them {name}, are {split}")
        if split is not None:
            named[split] = table
    if "train" not in named:
        raise DataError(f"data.root: {root}: has no split `train`")
    image, label = (_column(root, named["train"].features, kind) for kind in ("Image", "ClassLabel"))
    classes = tuple(named["train"].features[label].names)
    labels: dict[str, np.ndarray[Any, Any]] = {}
    for split, table in named.items():
        if image not in table.features or getattr(table.features.get(label), "names", None) != list(classes):
            raise DataError(
                f"data.root: {root}: {split} has not the columns {image} and {label} of train, or other classes"
            )
        found = np.asarray(table.with_format("numpy")[label][:], dtype=np.int64)
        if not (len(found) and (found == -1).all()):
            labels[split] = _checked(root, split, found, len(classes))
    if "test" not in labels and "val" in labels:  # as in a folder of images
        labels["test"], named["test"] = labels.pop("val"), named.pop("val")
    tables = {split: _undecoded(named[split], image) for split in labels}
    starts = np.cumsum([0, *map(len, labels.values())])
    order = list(labels)

    def place(i: int) -> tuple[str, int]:
        part = int(np.searchsorted(starts, i, side="right")) - 1
        return order[part], i - int(starts[part])

    def open_image(i: int) -> Image.Image:
        split, row = place(i)
        return _open(tables[split][row][image], root)

    return Pool(
        f"data.root: {root}", classes, torch.from_numpy(np.concatenate(list(labels.values()))),
        {split: torch.arange(starts[k], starts[k + 1]) for k, split in enumerate(order)},
        open_image, lambda i: "row {1} of {0}".format(*place(i)),
    )  # fmt: skip


def _load(root: Path) -> dict[str, Any]:
    """The data set's splits by name, as `datasets.Dataset`."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "data.source: huggingface needs the package datasets (pip install 'midas-nas[huggingface]')"
        ) from error
    if not root.is_dir():
        raise DataError(f"data.root: {root}: there is no such folder; `hf download NAME --repo-type dataset` makes one")
    datasets.disable_progress_bars()
    saved = any((root / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        found = datasets.load_from_disk(str(root)) if saved else datasets.load_dataset(str(root.absolute()))
    except Exception as error:  # it raises nearly anything on what it cannot read
        raise DataError(f"data.root: {root}: cannot be read as a Hugging Face data set ({error})") from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def _column(root: Path, features: Any, kind: str) -> str:
    """The name of the one column of a kind."""
    names = [name for name, feature in features.items() if type(feature).__name__ == kind]
    if len(names) != 1:
        found = ", ".join(names) or ", ".join(f"{name}: {type(feature).__name__}" for name, feature in features.items())
        raise DataError(f"data.root: {root}: must have one column of type {kind}, and has {len(names)} ({found})")
    return str(names[0])


def _checked(root: Path, split: str, labels: Any, classes: int) -> Any:
    """Labels that are all of a class."""
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        first = int(outside[0])
        raise DataError(
            f"data.root: {root}: row {first} of {split} has the label {labels[first]}, outside 0...{classes - 1} "
            f"({len(outside)} such labels)"
        )
    return labels


def _undecoded(table: Any, image: str) -> Any:
    """The column of images alone, as bytes."""
    from datasets import Image as ImageFeature

    return table.select_columns([image]).cast_column(image, ImageFeature(decode=False))


def _open(value: dict[str, Any], root: Path) -> Image.Image:
    """An image from its bytes, or from a file in the data set's folder."""
    if value["bytes"] is not None:
        return Image.open(io.BytesIO(value["bytes"]), formats=FORMATS)
    path = Path(value["path"])
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise ValueError("the row holds no bytes, and its path is no file in the data set's folder")
    return Image.open(path, formats=FORMATS)
