"""What the data stage leaves behind: one safetensors file a split, and what is known about them in meta.json."""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from midas.runs import files
from midas.runs.errors import DataError, MidasError

SPLITS = ("train", "val", "test")
Pixels = npt.NDArray[Any]
_AGAIN = "run the data stage (`dvc repro data`)"


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8 [N, 3, H, W] in channels_last memory.
        labels: int64 [N].
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> Any:
        """To another process as arrays: tensors would go into shared memory, of which containers have little."""
        return _split, (self.images.permute(0, 2, 3, 1).contiguous().numpy(), self.labels.numpy())


def _split(pixels: Pixels, labels: Pixels) -> Split:
    """From images [N, H, W, 3]."""
    return Split(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels))


@dataclass(frozen=True)
class DataMeta:
    """What is known about a prepared data set.

    Attributes:
        classes: the class names; a label is an index into them.
        size: the images' side in pixels.
        mean: of each channel over the training split, in units of [0, 1] pixel values.
        std: the population deviation, likewise.
        counts: the number of images in each split.
        fingerprint: SHA-256 over classes, images and labels of all splits.
        source: where the images came from, e.g. ``cifar10``.
        resize: how any image becomes one of this data set: ``resize`` (shorter side in pixels), ``interpolation`` and
            ``crop``.
        duplicates: how many test images also stand, pixel for pixel, in train or val.
    """

    classes: tuple[str, ...]
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    counts: dict[str, int]
    fingerprint: str
    source: str
    resize: dict[str, int | str]
    duplicates: int


def save_split(path: Path, split: Split) -> None:
    """Write a split, whole or not at all; equal splits give equal bytes."""
    with new_split(path, split.labels, split.images.shape[-1]) as pixels:
        pixels[:] = split.images.permute(0, 2, 3, 1).numpy()


@contextlib.contextmanager
def new_split(path: Path, labels: Tensor, size: int) -> Iterator[Pixels]:
    """A split's file whose pixels are to be filled where they lie on the disk: a split may be larger than the memory.

    On leaving, the file is at `path`; after an error it is not. The whole of its place on the disk is taken first, since a
    disk that is full when pixels are written ends the process.

    Args:
        path: a .safetensors file.
        labels: int64 [N].
        size: the images' side in pixels.

    Yields:
        uint8 [N, size, size, 3], zeros.

    Raises:
        MidasError: the file could not be written.
    """
    shape = (len(labels), size, size, 3)
    first, end = 8 * len(labels), 8 * len(labels) + math.prod(shape)
    entries = {
        "labels": {"dtype": "I64", "shape": [len(labels)], "data_offsets": [0, first]},
        "images": {"dtype": "U8", "shape": shape, "data_offsets": [first, end]},
    }
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # so that the tensors lie at multiples of 8 bytes, as safetensors has it
    with files.writing(path) as file:
        file.write(len(header).to_bytes(8, "little") + header + labels.numpy().astype("<i8").tobytes())
        file.flush()
        start = file.tell()
        files.reserve(file, start + math.prod(shape))
        if not len(labels):  # nothing can be mapped
            yield np.zeros(shape, np.uint8)
            return
        pixels = np.memmap(file, np.uint8, "r+", start, shape)
        yield pixels
        pixels.flush()


def load_split(path: Path) -> Split:
    """Read a split.

    Raises:
        DataError: the file is missing, or is not what `save_split` wrote.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; {_AGAIN} first")
    try:
        tensors = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(f"{path}: is damaged ({error}); {_AGAIN} again") from error
    return _checked(path, tensors)


def _checked(path: Path, tensors: Mapping[str, Tensor]) -> Split:
    """The split in a file's tensors, or a DataError where they are not one."""
    empty = torch.empty(0)
    images, labels = tensors.get("images", empty), tensors.get("labels", empty)
    is_split = images.dtype == torch.uint8 and images.dim() == 4 and images.shape[-1] == 3
    if not is_split or labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise DataError(f"{path}: does not hold a split (images uint8 [N, H, W, 3], labels int64 [N]); {_AGAIN} again")
    return Split(images.permute(0, 3, 1, 2), labels)


def save_meta(path: Path, meta: DataMeta) -> None:
    """Write what is known about the data, whole or not at all."""
    files.write_json(path, asdict(meta))


def load_meta(path: Path) -> DataMeta:
    """Read what `save_meta` wrote.

    Raises:
        DataError: the file is missing, is not JSON, or lacks something.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; {_AGAIN} first")
    try:
        return TypeAdapter(DataMeta).validate_python(files.read_json(path))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise DataError(f"{path}: is damaged ({where}: {fault['msg']}); {_AGAIN} again") from error
    except MidasError as error:
        raise DataError(f"{error}; {_AGAIN} again") from error
