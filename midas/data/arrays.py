"""Sources that are arrays in memory: scikit-learn's digits, torchvision's CIFAR, and .npz files."""

import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from midas.data.config import MAX_BYTES, DataConfig
from midas.data.pool import Pool
from midas.runs.errors import DataError

Array = npt.NDArray[Any]
Part = tuple[str, Array, Array]  # what error messages call it, images, labels


def pool_of(where: str, classes: Sequence[str], parts: dict[str, Part]) -> Pool:
    """A pool of arrays.

    Args:
        where: what error messages call the source.
        classes: the class names.
        parts: for each split its images (uint8 [n, H, W] or [n, H, W, 1, 3 or 4]; sizes may differ between splits)
            and labels (integers [n]).
    """
    flat = [image for _, images, _ in parts.values() for image in _without_single_channel(images)]
    names = [f"image {i} of {name}" for name, part, _ in parts.values() for i in range(len(part))]
    labels = torch.from_numpy(np.concatenate([labels.astype(np.int64) for _, _, labels in parts.values()]))
    bounds = np.cumsum([0, *(len(part) for _, part, _ in parts.values())])
    splits = {split: torch.arange(bounds[i], bounds[i + 1]) for i, split in enumerate(parts)}
    return Pool(where, tuple(classes), labels, splits, lambda i: Image.fromarray(flat[i]), names.__getitem__)


def _without_single_channel(images: Array) -> Array:
    """Grey images as [n, H, W], the form Pillow knows; others as they are."""
    return images[..., 0] if images.ndim == 4 and images.shape[-1] == 1 else images


def digits() -> Pool:
    """The 1,797 handwritten digits that scikit-learn carries, 8x8 grey.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("data.source: digits needs scikit-learn (pip install scikit-learn)") from error
    images, labels = load_digits(return_X_y=True)
    grey = (images.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)  # 0 ... 16 in the original
    return pool_of("data.source: digits", [str(digit) for digit in range(10)], {"train": ("digits", grey, labels)})


def cifar(config: DataConfig) -> Pool:
    """CIFAR-10 or CIFAR-100 as torchvision reads the official files, whose hashes it checks.

    Raises:
        DataError: the files are missing, damaged, or could not be downloaded.
    """
    from torchvision import datasets

    reader = datasets.CIFAR10 if config.source == "cifar10" else datasets.CIFAR100
    train, test = (_read_cifar(reader, train, config) for train in (True, False))
    parts = {
        "train": ("train", train.data, np.array(train.targets)),
        "test": ("test", test.data, np.array(test.targets)),
    }
    return pool_of(f"data.source: {config.source}", train.classes, parts)


def _read_cifar(reader: Callable[..., Any], train: bool, config: DataConfig) -> Any:
    """One split as torchvision's data set."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's remarks about the age of the official files
            return reader(root=config.root, train=train, download=config.download)
    except (OSError, RuntimeError) as error:  # a URLError is an OSError
        folder = Path(config.root) / ("cifar-10-batches-py" if config.source == "cifar10" else "cifar-100-python")
        if config.download:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{folder}: {config.source} could not be downloaded ({reason}); put the official files there"
            ) from error
        raise DataError(
            f"{folder}: the {config.source} files are missing or damaged; put them there or set data.download: true"
        ) from error


def npz(root: Path) -> Pool:
    """Arrays: one .npz file, or a folder with one *train*.npz, one *test*.npz and perhaps one *val*.npz.

    Each holds `images` (uint8 [N, H, W] or [N, H, W, 1, 3 or 4]), `labels` (integers [N]) and perhaps `classes` or
    `class_names` (strings); without names the classes are numbered up to the largest training label.

    Raises:
        DataError: files are missing or ambiguous, an array is missing or of another shape or type, or a label is
            outside the classes.
    """
    parts = {split: _read_npz(path) for split, path in _npz_files(root).items()}
    named = [classes for _, classes in parts.values() if classes is not None]
    if any(classes != named[0] for classes in named):
        raise DataError(f"data.root: {root}: the .npz files name different classes")
    classes = named[0] if named else _numbered(parts["train"][0])
    for (where, _, labels), _ in parts.values():
        outside = np.flatnonzero((labels < 0) | (labels >= len(classes)))
        if len(outside):
            value, first = labels[outside[0]], outside[0]
            raise DataError(
                f"{where}: labels[{first}] is {value}, outside 0...{len(classes) - 1} ({len(outside)} such labels)"
            )
    return pool_of(f"data.root: {root}", classes, {split: part for split, (part, _) in parts.items()})


def _numbered(train: Part) -> list[str]:
    """The classes 0, 1, ... up to the largest training label, of which there cannot be more than images."""
    where, _, labels = train
    if (largest := int(labels.max(initial=-1))) >= len(labels):
        raise DataError(
            f"{where}: its largest label is {largest}, and it has {len(labels)} images; labels number the classes from 0"
        )
    return [str(label) for label in range(largest + 1)]


def _npz_files(root: Path) -> dict[str, Path]:
    """The file of each split; a single file is all `train`."""
    if root.is_file():
        return {"train": root}
    if not root.is_dir():
        raise DataError(
            f"data.root: {root}: there is no such file or folder; it must be an .npz file or a folder of them"
        )
    found = {split: sorted(root.glob(f"*{split}*.npz")) for split in ("train", "val", "test")}
    for split, paths in found.items():
        if len(paths) > 1 or (not paths and split != "val"):
            names = ", ".join(path.name for path in paths) or "none"
            raise DataError(f"data.root: {root}: needs one *{split}*.npz and has {names}; or name one .npz file")
    files = {split: paths[0] for split, paths in found.items() if paths}
    if len(set(files.values())) < len(files):
        raise DataError(
            f"data.root: {root}: one file's name stands for two splits ({', '.join(p.name for p in files.values())})"
        )
    return files


def _read_npz(path: Path) -> tuple[Part, list[str] | None]:
    """The arrays of one file, and its class names if it has any."""
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())  # the most that numpy is given to read
            if unpacked > MAX_BYTES:
                raise ValueError(f"it unpacks to {unpacked / 2**30:.1f} GiB, more than {MAX_BYTES >> 30}")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                keys = ("images", "labels", "classes", "class_names")
                arrays = {key: file[key] for key in keys if key in file}
    except Exception as error:  # numpy and zipfile raise nearly anything on broken bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: is not readable as .npz without pickled objects ({reason})") from error
    missing = [key for key in ("images", "labels") if key not in arrays]
    if missing:
        raise DataError(f"{path}: has no array named {missing[0]}; it needs images and labels")
    names = arrays.get("classes", arrays.get("class_names"))
    images, labels = arrays["images"], arrays["labels"]
    _check_arrays(path, images, labels)
    return (str(path), images, labels), None if names is None else [str(name) for name in names.ravel()]


def _check_arrays(path: Path, images: Array, labels: Array) -> None:
    """Refuse arrays that are not images with one label each."""
    shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3, 4))
    if images.dtype != np.uint8 or not shaped:
        raise DataError(
            f"{path}: images are {images.dtype} {list(images.shape)}; allowed are uint8 [N, H, W] or [N, H, W, 1|3|4]"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise DataError(f"{path}: labels are {labels.dtype} {list(labels.shape)}; it needs {len(images)} integers")
