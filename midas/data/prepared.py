"""Prepared data on the disk: one safetensors file for each split, and meta.json about all."""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from midas.io import files
from midas.io.errors import DataError, MidasError

SPLITS = ("train", "val", "test")
Pixels = npt.NDArray[np.uint8]
_ADVICE = "run the data stage (`dvc repro data`)"


@dataclass(frozen=True)
class Split:
    """Images, uint8 [N, 3, H, W] in channels_last memory, and their labels, int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> Any:
        """Pickle as arrays: tensors would need shared memory, of which containers have little."""
        pixels = self.images.permute(0, 2, 3, 1).contiguous()  # [N, H, W, 3]
        return split_of_arrays, (pixels.numpy(), self.labels.numpy())


def split_of_arrays(pixels: Pixels, labels: npt.NDArray[np.int64]) -> Split:
    """Make a split of pixels [N, H, W, 3] and labels [N]; they share their memory."""
    return Split(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels))


@dataclass(frozen=True)
class DataMeta:
    """The description of a prepared data set."""

    classes: tuple[str, ...]  # their names; a label is an index into them
    size: int  # side of the images in pixels
    mean: tuple[float, float, float]  # of each channel of train, for pixel values in [0, 1]
    std: tuple[float, float, float]  # population standard deviation, likewise
    counts: dict[str, int]  # of the images in each split
    fingerprint: str  # SHA-256 of the classes, images and labels of all splits
    source: str  # as in `DataConfig`
    resize: dict[str, int | str]  # `resize` (shorter side in pixels), `interpolation` and `crop`
    duplicates: int  # test images that are also, pixel for pixel, in train or val


def with_normalisation(meta: DataMeta, image: Mapping[str, Any]) -> DataMeta:
    """The data with the `mean` and `std` of a network's preprocessing in place of their own."""
    return replace(meta, mean=tuple(image["mean"]), std=tuple(image["std"]))


def save_split(path: Path, split: Split) -> None:
    """Write a split, whole or not at all; equal splits give equal bytes."""
    with new_split(path, split.labels, split.images.shape[-1]) as pixels:
        pixels[:] = split.images.permute(0, 2, 3, 1).numpy()


@contextlib.contextmanager
def new_split(path: Path, labels: Tensor, size: int) -> Iterator[Pixels]:
    """Create a split's file, whose pixels, uint8 [N, size, size, 3], the caller fills on the disk.

    The file appears at `path` on leaving, and not after an error. Its disk space is reserved first,
    because writing to memory-mapped pixels on a full disk kills the process.
    """
    shape = (len(labels), size, size, 3)
    label_bytes = 8 * len(labels)
    offsets = [label_bytes, label_bytes + math.prod(shape)]
    entries = {
        "labels": {"dtype": "I64", "shape": [len(labels)], "data_offsets": [0, label_bytes]},
        "images": {"dtype": "U8", "shape": shape, "data_offsets": offsets},
    }
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # safetensors aligns its tensors to 8 bytes
    with files.writing(path) as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.write(labels.numpy().astype("<i8").tobytes())
        file.flush()
        start = file.tell()
        files.reserve(file, start + math.prod(shape))
        if len(labels) == 0:  # an empty array cannot be mapped
            yield np.zeros(shape, np.uint8)
            return
        pixels = np.memmap(file, np.uint8, "r+", start, shape)
        yield pixels
        pixels.flush()


def load_split(path: Path) -> Split:
    """Read a split; raise DataError if the file is missing, or `save_split` did not write it."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; {_ADVICE}")
    try:
        tensors = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(f"{path}: is damaged ({error}); {_ADVICE} again") from error
    images = tensors.get("images", torch.empty(0))
    labels = tensors.get("labels", torch.empty(0))
    are_images = images.dtype == torch.uint8 and images.dim() == 4 and images.shape[-1] == 3
    if not are_images or labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise DataError(f"{path}: does not hold a split; {_ADVICE} again")
    return Split(images.permute(0, 3, 1, 2), labels)


def save_meta(path: Path, meta: DataMeta) -> None:
    """Write the description of the data, whole or not at all."""
    files.write_json(path, asdict(meta))


def load_meta(path: Path) -> DataMeta:
    """Read what `save_meta` wrote; raise DataError if it is missing, not JSON, or incomplete."""
    try:
        return TypeAdapter(DataMeta).validate_python(files.read_json(path))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "the file"
        raise DataError(f"{path}: is damaged ({key}: {problem['msg']}); {_ADVICE} again") from error
    except MidasError as error:
        raise DataError(f"{error}; {_ADVICE}") from error
