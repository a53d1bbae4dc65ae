"""Sources that are arrays in memory: scikit-learn's digits, torchvision's CIFAR, and .npz files."""

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from midas.data.config import MAX_BYTES, DataConfig
from midas.data.image_source import ImageSource
from midas.data.listing import Tree, clean_name, kind_of, splits_in
from midas.io.errors import DataError, listed, reason, shorten

_ARRAYS = ("images", "labels", "classes", "class_names")
Array = npt.NDArray[Any]


class LabelledArrays(NamedTuple):
    """The images of one split, which error messages call `name`."""

    name: str
    images: Array  # uint8 [n, H, W] or [n, H, W, 3 or 4]
    labels: Array  # integers [n]
    classes: list[str] | None = None  # the class names, if the arrays come with them


def source_of_arrays(
    where: str,
    classes: Sequence[str] | None,
    splits: Mapping[str, LabelledArrays],
    tree: Tree | None = None,
) -> ImageSource:
    """Make a source of arrays; raise DataError if a label is outside the classes."""
    return ImageSource.from_splits(
        where,
        classes,
        {split: arrays.labels for split, arrays in splits.items()},
        lambda split, row: Image.fromarray(splits[split].images[row]),
        lambda split, row: f"image {row} of {splits[split].name}",
        tree,
    )


def digits() -> ImageSource:
    """Load the 1,797 handwritten digits of scikit-learn, 8x8 grey."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("data.source: digits needs `pip install scikit-learn`") from error
    images, labels = load_digits(return_X_y=True)
    grey = images.reshape(-1, 8, 8) * (255 / 16)  # [n, 64] of 0 ... 16 to [n, 8, 8] of 0 ... 255
    train = LabelledArrays("digits", grey.round().astype(np.uint8), labels)
    return source_of_arrays("data.source: digits", list("0123456789"), {"train": train})


def cifar(config: DataConfig) -> ImageSource:
    """Load CIFAR-10 or CIFAR-100 with torchvision, which checks the official files' hashes."""
    from torchvision import datasets

    reader = datasets.CIFAR10 if config.source == "cifar10" else datasets.CIFAR100
    splits = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns that the official files are old
            for split in ("train", "test"):
                data = reader(config.root, train=split == "train", download=config.download)
                targets = np.array(data.targets)
                splits[split] = LabelledArrays(split, data.data, targets, data.classes)
    except (OSError, RuntimeError) as error:  # a URLError is an OSError
        problem = "files are missing or damaged; put them there or set data.download: true"
        if config.download:
            problem = f"could not be downloaded ({reason(error)}); put the official files there"
        folder = Path(config.root) / reader.base_folder
        raise DataError(f"{folder}: {config.source} {problem}") from error
    return source_of_arrays(f"data.source: {config.source}", splits["train"].classes, splits)


def npz(root: Path) -> ImageSource:
    """Load an .npz file, or a folder with one file for train, one for test and perhaps one for val.

    A word of the file's name says which, e.g. mine_train.npz. Each file holds `images` (uint8
    [N, H, W] or [N, H, W, 1, 3 or 4]), `labels` (integers [N]) and optionally `classes` or
    `class_names` (text or bytes). Without names, the classes are numbered.
    """
    where = f"data.root: {root}"
    tree = Tree(root)
    paths = _find_npz_files(where, tree)
    splits = {split: _read_npz(path, tree) for split, path in paths.items()}
    class_lists = [arrays.classes for arrays in splits.values() if arrays.classes is not None]
    if any(classes != class_lists[0] for classes in class_lists):
        raise DataError(f"{where}: the .npz files name different classes; make them equal")
    return source_of_arrays(where, class_lists[0] if class_lists else None, splits, tree)


def _find_npz_files(where: str, tree: Tree) -> dict[str, Path]:
    if tree.root.is_file():
        return {"train": tree.root}
    if not tree.root.is_dir():
        raise DataError(f"{where}: there is no such file or folder; name an .npz file or a folder")
    by_split: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
    for path in tree.files(tree.root):
        names = splits_in(path.stem) if path.suffix == ".npz" else set()
        if len(names) > 1:
            problem = f"the name {shorten(path.name)} stands for two splits"
            raise DataError(f"{where}: {problem}; rename the file")
        if not names:
            tree.skipped.add(kind_of(path.name))
        for split in names:
            by_split[split].append(path)
    for split, paths in by_split.items():
        if len(paths) > 1 or (not paths and split != "val"):
            present = listed(path.name for path in paths) or "none"
            problem = f"needs one .npz file named {split} and has {present}"
            raise DataError(f"{where}: {problem}; or name one file")
    return {split: paths[0] for split, paths in by_split.items() if paths}


def _read_npz(path: Path, tree: Tree) -> LabelledArrays:
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            # numpy reads at most as much as the archive declares
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_BYTES:
                limit = f"{MAX_BYTES / 2**30:.1f} GiB"
                raise ValueError(f"it unpacks to {size / 2**30:.1f} GiB, more than {limit}")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                arrays = {key: file[key] for key in _ARRAYS if key in file}
                unknown = len(set(file.files) - set(_ARRAYS))
    except Exception as error:  # numpy and zipfile raise nearly anything on broken bytes
        problem = f"is not readable as .npz without pickled objects ({reason(error)})"
        raise DataError(f"{path}: {problem}; write it again") from error
    if unknown:
        tree.skipped.add("arrays of other names", number=unknown)
    for key in ("images", "labels"):
        if key not in arrays:
            raise DataError(f"{path}: has no array named {key}; it needs images and labels")
    images = arrays["images"]
    labels = arrays["labels"]
    if images.dtype != np.uint8 or not (images.ndim == 3 or images.shape[3:] in ((1,), (3,), (4,))):
        form = f"{images.dtype} {list(images.shape)}"
        raise DataError(f"{path}: images are {form}, not uint8 [N, H, W] or [N, H, W, 1|3|4]")
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        form = f"{labels.dtype} {list(labels.shape)}"
        raise DataError(f"{path}: labels are {form}; it needs {len(images)} integers")
    if images.shape[3:] == (1,):
        images = images[..., 0]  # Pillow wants grey images without a channel axis: [N, H, W]
    names = arrays.get("classes", arrays.get("class_names"))
    classes = None if names is None else [clean_name(name) for name in names.ravel().tolist()]
    return LabelledArrays(str(path), images, labels, classes)
