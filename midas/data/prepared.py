"""What the data stage leaves behind: one safetensors file a split, and what is known about them in meta.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from midas.runs import files
from midas.runs.errors import DataError, MidasError

SPLITS = ("train", "val", "test")
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
    pixels = split.images.permute(0, 2, 3, 1).contiguous()  # [N, H, W, 3], as it lies in memory already
    files.write_bytes(path, safetensors.torch.save({"images": pixels, "labels": split.labels.contiguous()}))


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
