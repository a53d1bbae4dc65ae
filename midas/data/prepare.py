"""The data stage: prepare the train, validation and test splits of a source, and describe them."""

import hashlib
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from midas.data.arrays import cifar, digits, npz
from midas.data.config import DataConfig
from midas.data.huggingface import huggingface
from midas.data.image_folder import folder
from midas.data.image_source import ImageSource
from midas.data.prepared import SPLITS, DataMeta, Split, new_split, save_meta, split_of_arrays
from midas.data.quality import Hashes, check_quality, hash_images
from midas.data.shards import shards
from midas.data.splits import stratified, subset
from midas.io import files
from midas.io.errors import DataError, listed, shorten

# the sources that are read from `data.root` alone
READERS = {
    "npz": npz,
    "folder": folder,
    "webdataset": shards,
    "huggingface": huggingface,
}
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # Python's stand-ins for bytes that are not UTF-8
_MIN_STD = 1e-3  # keeps a channel of one value finite when it is normalised


class _UnreadableImages(Exception):
    """Some images cannot be read and may be left out; the argument has the reasons, by index."""


def prepare(config: DataConfig, out: Path, is_tracked: bool = False) -> DataMeta:
    """Read a source and write its splits (.safetensors), meta.json and report.json into `out`.

    The pixels are decoded straight to the disk, so the images may exceed the memory. No file
    appears under its name before everything is read. A source that is missing, broken or too small
    is a DataError, and so is a disk that is too small, or, with `is_tracked`, a link out of the
    source's folder: DVC would not see changes behind it, and keep the results of other images.
    """
    source = open_source(config)
    if is_tracked and source.links:
        link = source.links[0]
        problem = f"{link} leads out of it, and DVC does not see what changes behind such a link"
        raise DataError(f"{source.where}: {problem}; copy the folder (cp -rL)")
    unreadable: dict[int, str] = {}
    while True:
        try:
            meta, report = _write_splits(source, config, len(unreadable), out)
            break
        except _UnreadableImages as error:
            # divide again, so that the splits are those of the readable images alone
            unreadable |= error.args[0]
            source = source.without(error.args[0])
    report["unreadable"] = [{"image": source.name(i), "fault": unreadable[i]} for i in unreadable]
    report["passed_over"] = source.skipped.kinds()
    save_meta(out / "meta.json", meta)
    files.write_json(out / "report.json", report)
    return meta


def open_source(config: DataConfig) -> ImageSource:
    """List a source's images; raise DataError if the source is missing or contradicts itself."""
    if config.source == "digits":
        source = digits()
    elif config.source in READERS:
        source = READERS[config.source](Path(config.root))
    else:
        source = cifar(config)
    return replace(source, max_pixels=config.max_pixels)


def original_images(
    config: DataConfig, split: str, unreadable: Iterable[str]
) -> Iterator[Image.Image]:
    """The images of a split as the source holds them, in the order of its prepared pixels.

    `unreadable` names the images that `prepare` left out.
    """
    source = open_source(config)
    left_out = set(unreadable)
    if left_out:
        names = enumerate(map(source.name, range(len(source.labels))))
        source = source.without([k for k, name in names if name in left_out])
    for index in divide(source, config)[split].tolist():
        with source.open(index) as image:
            yield image


def divide(source: ImageSource, config: DataConfig) -> dict[str, Tensor]:
    """Return the indices, int64, of train, val and test; missing splits are cut from train."""
    _check_class_names(source.where, source.classes)
    _check_class_sizes(source)
    indices = dict(source.splits)
    for name, fraction in (("test", config.test_fraction), ("val", config.val_fraction)):
        if name not in indices:
            train = indices["train"]
            # the test split leaves two of each class if the validation split is still to be cut
            keep = 1 if name == "val" or "val" in indices else 2
            kept, held = stratified(source.labels[train], fraction, config.split_seed, name, keep)
            indices["train"] = train[kept]
            indices[name] = train[held]
    if config.max_images is not None:
        train = indices["train"]
        indices["train"] = train[subset(source.labels[train], config.max_images, config.split_seed)]
    return {name: indices[name] for name in SPLITS}


def _check_class_names(where: str, classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise DataError(f"{where}: has {len(classes)} class(es); a classifier needs at least 2")
    for name, times in Counter(classes).items():
        if times > 1:
            problem = f"{times} classes are named {shorten(name)!r}"
            raise DataError(f"{where}: {problem}; give each its own name")
        if not name.strip() or _NOT_UTF8.search(name):
            problem = f"class name {name[:60]!r} is empty or no valid text"
            raise DataError(f"{where}: {problem}; rename it")


def _check_class_sizes(source: ImageSource) -> None:
    """Raise DataError if a class cannot have an image in every split."""
    for name, index in source.splits.items():
        # missing splits are cut from train
        least = 1 if name != "train" else 1 + len(SPLITS) - len(source.splits)
        counts = source.labels[index].bincount(minlength=len(source.classes))
        too_small = torch.nonzero(counts < least).flatten().tolist()
        if too_small:
            sizes = (f"{shorten(source.classes[k], 30)!r} has {counts[k]}" for k in too_small)
            splits = f" (one for each of {', '.join(SPLITS)})" if least == len(SPLITS) else ""
            others = source.skipped.text(source.classes[too_small[0]]) or source.skipped.text()
            hint = f"; passed over: {others}" if others else ""
            problem = f"too few images for {name}: class {listed(sizes)}{hint}"
            raise DataError(f"{source.where}: {problem}; each class needs {least}{splits}")


def _check_disk(out: Path, images: int, size: int) -> None:
    needed = images * size * size * 3
    free = shutil.disk_usage(next(path for path in out.absolute().parents if path.is_dir())).free
    if needed > free:
        raise DataError(
            f"data: {images} images of {size}x{size} take {needed / 2**30:.1f} GiB, and {out} has"
            f" {free / 2**30:.1f} GiB left; make data.image_size smaller or set data.max_images"
        )


def _write_splits(
    source: ImageSource, config: DataConfig, left_out: int, out: Path
) -> tuple[DataMeta, dict[str, Any]]:
    """Divide a source, from which images were left out, and decode it into the splits' files."""
    allowed = config.max_unreadable - left_out
    indices = divide(source, config)
    order = torch.cat(list(indices.values()))
    size = config.image_size or source.common_size(order, allowed)
    _check_disk(out, len(order), size)
    labels = {name: source.labels[index] for name, index in indices.items()}
    with ExitStack() as opened:
        pixels = {
            name: opened.enter_context(new_split(out / f"{name}.safetensors", labels[name], size))
            for name in indices
        }
        if reasons := source.decode([*indices.values()], [*pixels.values()], allowed):
            raise _UnreadableImages(reasons)
        splits = {name: split_of_arrays(pixels[name], labels[name].numpy()) for name in pixels}
        hashes = {name: hash_images(split) for name, split in splits.items()}
        report = check_quality(
            splits, hashes, source.classes, lambda name, k: source.name(int(indices[name][k]))
        )
        return _describe(config.source, source.classes, splits, hashes), report


def _describe(
    source: str, classes: tuple[str, ...], splits: dict[str, Split], hashes: Hashes
) -> DataMeta:
    mean, std = statistics(splits["train"].images)
    size = splits["train"].images.shape[-1]
    known = {*hashes["train"], *hashes["val"]}
    return DataMeta(
        classes=classes,
        size=size,
        mean=mean,
        std=std,
        counts={name: len(split) for name, split in splits.items()},
        fingerprint=_fingerprint(classes, splits, hashes),
        source=source,
        resize={"resize": size, "interpolation": "bilinear", "crop": "center"},
        duplicates=sum(image in known for image in hashes["test"]),
    )


def statistics(images: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Compute mean and deviation of each channel of uint8 [N, 3, H, W], for values in [0, 1].

    Exact counts of the 256 values make the result independent of the order of the images, and
    whole numbers make it the same on every CPU.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    # in chunks, because numpy counts in a copy of 8 bytes a value
    for chunk in torch.split(images, max(1, 2**20 // images[0].numel())):
        for channel, values in enumerate(chunk.unbind(1)):
            counts[channel] += np.bincount(values.flatten().numpy(), minlength=256)
    (r, dr), (g, dg), (b, db) = (_moments(channel.tolist()) for channel in counts)
    return (r, g, b), (dr, dg, db)


def _moments(counts: list[int]) -> tuple[float, float]:
    """Compute mean and deviation of pixels, given the number of pixels of each value."""
    total = sum(counts)
    first = sum(value * count for value, count in enumerate(counts))
    second = sum(value * value * count for value, count in enumerate(counts))
    deviation = math.sqrt(total * second - first * first) / (255 * total)
    return first / (255 * total), max(deviation, _MIN_STD)


def _fingerprint(classes: tuple[str, ...], splits: dict[str, Split], hashes: Hashes) -> str:
    """Compute the SHA-256 of the classes, image hashes and labels, in the order of the splits."""
    digest = hashlib.sha256("\0".join(classes).encode())
    for name, split in splits.items():
        digest.update(f"\n{name} {list(split.images.shape)}\n".encode())
        digest.update(b"".join(hashes[name]))
        digest.update(split.labels.numpy().tobytes())
    return digest.hexdigest()
