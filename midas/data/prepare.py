"""The data stage: a source becomes train, val and test tensors and what is known about them."""

import hashlib
import math
import re
import shutil
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from midas.data.config import DataConfig
from midas.data.faults import Hashes, find_faults, hash_images
from midas.data.pool import Pool, Store
from midas.data.prepared import SPLITS, DataMeta, Pixels, Split, new_split, save_meta
from midas.data.sources import open_source
from midas.data.splits import stratified, subset
from midas.runs import files
from midas.runs.errors import DataError

_NO_TEXT = re.compile("[\ud800-\udfff]")  # how Python writes bytes of a file's name that are no UTF-8
_MIN_STD = 1e-3  # a channel of one value everywhere stays finite when it is normalised


def prepare(config: DataConfig, out: Path) -> DataMeta:
    """Read a source and write train, val and test.safetensors, meta.json and report.json into `out`.

    The pixels are decoded into place on the disk, so the images may be more than the memory holds. No file has its name
    before everything was read.

    Raises:
        DataError: the source is missing, broken or too small, or the disk is.
        MidasError: a file could not be written.
    """
    pool, unreadable = open_source(config), dict[int, str]()
    while True:  # once more for each time that images turn out to be unreadable: splits are of the others alone
        indices = divide(pool, config)
        everything, left = torch.cat(list(indices.values())), config.max_unreadable - len(unreadable)
        size = config.image_size or pool.own_size(everything, left)
        _check_disk(out, len(everything), size)
        try:
            meta, report = _write(config.source, pool, indices, size, left, out)
            break
        except _LeftOut as error:
            unreadable |= {int(everything[position]): fault for position, fault in error.faults.items()}
            pool = pool.without(unreadable)
    report["unreadable"] = [{"image": pool.name(k), "fault": fault} for k, fault in unreadable.items()]
    report["passed_over"] = dict(pool.passed_over)
    save_meta(out / "meta.json", meta)
    files.write_json(out / "report.json", report)
    return meta


class _LeftOut(Exception):
    """Some images cannot be read, and may be left out; by their positions, with the reasons."""

    def __init__(self, faults: dict[int, str]) -> None:
        self.faults = faults


def _write(
    source: str, pool: Pool, indices: dict[str, Tensor], size: int, unreadable: int, out: Path
) -> tuple[DataMeta, dict[str, Any]]:
    """Decode the images into the splits' files; what is known about them, and what may be wrong with them."""
    with ExitStack() as opened:
        labels = {name: pool.labels[index] for name, index in indices.items()}
        pixels = [opened.enter_context(new_split(out / f"{name}.safetensors", labels[name], size)) for name in indices]
        if faults := pool.gather(torch.cat(list(indices.values())), size, _store(pixels), unreadable):
            raise _LeftOut(faults)
        splits = {
            name: Split(torch.from_numpy(part).permute(0, 3, 1, 2), labels[name])
            for name, part in zip(indices, pixels, strict=True)
        }
        hashes = {name: hash_images(split) for name, split in splits.items()}
        report = find_faults(splits, hashes, pool.classes, lambda name, i: pool.name(int(indices[name][i])))
        return describe(source, pool.classes, size, splits, hashes), report


def _store(parts: list[Pixels]) -> Store:
    """What puts an image into its place, the parts counted through."""
    starts = np.cumsum([0, *map(len, parts)])

    def store(position: int, image: Pixels) -> None:
        part = int(np.searchsorted(starts, position, side="right")) - 1
        parts[part][position - starts[part]] = image

    return store


def divide(pool: Pool, config: DataConfig) -> dict[str, Tensor]:
    """The indices of train, val and test, int64 each: the source's own splits, the missing ones cut from train.

    Raises:
        DataError: there are fewer than two classes, a class does not reach all splits, or `max_images` is too small.
    """
    _check_classes(pool)
    indices = dict(pool.splits)
    for name, fraction in (("test", config.test_fraction), ("val", config.val_fraction)):
        if name not in indices:
            train = indices["train"]
            keep = 1 if name == "val" or "val" in indices else 2  # the validation split is still to be cut
            kept, held = stratified(pool.labels[train], fraction, config.split_seed, name, keep)
            indices["train"], indices[name] = train[kept], train[held]
    if config.max_images is not None:
        if config.max_images < len(pool.classes):
            raise DataError(f"data.max_images: {config.max_images} is less than the {len(pool.classes)} classes")
        train = indices["train"]
        indices["train"] = train[subset(pool.labels[train], config.max_images, config.split_seed)]
    return {name: indices[name] for name in SPLITS}


def _check_classes(pool: Pool) -> None:
    """Refuse classes that cannot have an image in every split."""
    if len(pool.classes) < 2:
        raise DataError(f"{pool.where}: has {len(pool.classes)} class(es); a classifier needs at least 2")
    for name, times in Counter(pool.classes).items():
        if times > 1:
            raise DataError(f"{pool.where}: {times} classes are named {name!r}; each needs a name of its own")
        if not name.strip() or _NO_TEXT.search(name):
            raise DataError(f"{pool.where}: the class name {name!r} is empty or no valid text (UTF-8); rename it")
    needed = dict.fromkeys(pool.splits, 1)
    needed["train"] = 1 + len(SPLITS) - len(pool.splits)  # those that are missing are cut from train
    for name, least in needed.items():
        counts = pool.labels[pool.splits[name]].bincount(minlength=len(pool.classes))
        short = [f"{pool.classes[i]!r} has {counts[i]}" for i in torch.nonzero(counts < least).flatten().tolist()]
        if short:
            listed = ", ".join(short[:5]) + (", ..." if len(short) > 5 else "")
            splits = f" (one for each of {', '.join(SPLITS)})" if least == len(SPLITS) else ""
            raise DataError(
                f"{pool.where}: too few images for {name}: class {listed}; each class needs {least}{splits}"
            )


def _check_disk(out: Path, images: int, size: int) -> None:
    """Refuse what would not fit onto the disk, before decoding it."""
    needed = images * size * size * 3
    free = shutil.disk_usage(next(place for place in out.absolute().parents if place.is_dir())).free
    if needed > free:
        raise DataError(
            f"data: {images} images of {size}x{size} take {needed / 2**30:.1f} GiB, and {out} has {free / 2**30:.1f} GiB left; "
            "make data.image_size smaller or set data.max_images"
        )


def describe(source: str, classes: tuple[str, ...], size: int, splits: dict[str, Split], hashes: Hashes) -> DataMeta:
    """What is known about prepared splits, whose images' hashes are from `hash_images`."""
    mean, std = statistics(splits["train"].images)
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
    """Mean and population deviation of each channel of uint8 [N, 3, H, W], in units of [0, 1] pixel values.

    They come from exact counts of the 256 values, so they depend on neither order nor threads.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    for chunk in torch.split(images, max(1, 2**20 // images[0].numel())):  # numpy counts in a copy of 8 bytes a value
        counts += np.stack([np.bincount(channel.flatten().numpy(), minlength=256) for channel in chunk.unbind(1)])
    (r, dr), (g, dg), (b, db) = (_moments(channel.tolist()) for channel in counts)
    return (r, g, b), (dr, dg, db)


def _moments(counts: list[int]) -> tuple[float, float]:
    """Mean and deviation from the number of pixels of each value; whole numbers, so that every CPU gets the same."""
    total = sum(counts)
    first = sum(value * count for value, count in enumerate(counts))
    second = sum(value * value * count for value, count in enumerate(counts))
    deviation = math.sqrt(total * second - first * first) / (255 * total)
    return first / (255 * total), max(deviation, _MIN_STD)


def _fingerprint(classes: tuple[str, ...], splits: dict[str, Split], hashes: Hashes) -> str:
    """SHA-256 over classes, image hashes and labels, in the order of the splits."""
    digest = hashlib.sha256("\0".join(classes).encode())
    for name, split in splits.items():
        digest.update(f"\n{name} {list(split.images.shape)}\n".encode())
        digest.update(b"".join(hashes[name]))
        digest.update(split.labels.numpy().tobytes())
    return digest.hexdigest()
