"""The data stage: a source becomes train, val and test tensors and what is known about them."""

import hashlib
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from midas.data.config import MAX_BYTES, DataConfig
from midas.data.faults import Hashes, find_faults, hash_images
from midas.data.pool import Pool
from midas.data.prepared import SPLITS, DataMeta, Split, save_meta, save_split
from midas.data.sources import open_source
from midas.data.splits import stratified, subset
from midas.runs import files
from midas.runs.errors import DataError

_NO_TEXT = re.compile("[\ud800-\udfff]")  # how Python writes bytes of a file's name that are no UTF-8
_MIN_STD = 1e-3  # a channel of one value everywhere stays finite when it is normalised


def prepare(config: DataConfig, out: Path) -> DataMeta:
    """Read a source and write train, val and test.safetensors, meta.json and report.json into `out`.

    Nothing is written before everything was read and decoded.

    Raises:
        DataError: the source is missing, broken or too small, or the images would take more than 8 GiB.
        MidasError: a file could not be written.
    """
    pool, unreadable = open_source(config), dict[int, str]()
    while True:  # once more for each time that images turn out to be unreadable: splits are of the others alone
        indices = divide(pool, config)
        everything, left = torch.cat(list(indices.values())), config.max_unreadable - len(unreadable)
        size = config.size or pool.own_size(everything, left)
        _check_memory(len(everything), size)
        pixels, faults = pool.gather(everything, size, left)  # [N, size, size, 3]
        if not faults:
            break
        unreadable |= {int(everything[position]): fault for position, fault in faults.items()}
        pool = pool.without(unreadable)
        del pixels  # before as many are decoded again
    parts = torch.split(pixels, [len(index) for index in indices.values()])
    splits = {
        name: Split(part.permute(0, 3, 1, 2), pool.labels[index])
        for (name, index), part in zip(indices.items(), parts, strict=True)
    }
    hashes = {name: hash_images(split) for name, split in splits.items()}
    meta = describe(config.source, pool.classes, size, splits, hashes)
    report = find_faults(splits, hashes, pool.classes, lambda name, i: pool.name(int(indices[name][i])))
    report["unreadable"] = [{"image": pool.name(k), "fault": fault} for k, fault in unreadable.items()]
    for name, split in splits.items():
        save_split(out / f"{name}.safetensors", split)
    save_meta(out / "meta.json", meta)
    files.write_json(out / "report.json", report)
    return meta


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


def _check_memory(images: int, size: int) -> None:
    """Refuse what would not fit into memory, before decoding it."""
    needed = images * size * size * 3
    if needed > MAX_BYTES:
        raise DataError(
            f"data: {images} images of {size}x{size} take {needed / 2**30:.1f} GiB, more than {MAX_BYTES >> 30}; "
            "make data.size smaller or set data.max_images"
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
    for chunk in torch.split(images, 1024):
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
