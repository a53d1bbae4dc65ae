"""The quality report: repeated images, images under several classes, and classes of unequal size.

Images are equal if their prepared pixels are: other sizes and crops of an image are not detected.
"""

import hashlib
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from midas.data.prepared import SPLITS, Split

NAMED = 50  # groups of equal images that a report names
Hashes = Mapping[str, list[bytes]]  # of the images of each split


def hash_images(split: Split) -> list[bytes]:
    """Compute the SHA-256 of each image's pixels."""
    # [N, 3, H, W] to [N, H, W, 3], their order in memory
    pixels = np.ascontiguousarray(split.images.permute(0, 2, 3, 1).numpy())
    return [hashlib.sha256(image).digest() for image in pixels]


def check_quality(
    splits: Mapping[str, Split],
    hashes: Hashes,
    classes: tuple[str, ...],
    name: Callable[[str, int], str],
) -> dict[str, Any]:
    """Report what may be wrong with a data set that can be read.

    `name` names the image at a position of a split. In the result, ``contradictions`` counts the
    images in more than one class, ``named`` names the first groups of equal images, contradictions
    before others, and ``imbalance`` is the largest training class over the smallest.
    """
    labels = {split: splits[split].labels.tolist() for split in SPLITS}
    places: dict[bytes, list[tuple[str, int]]] = {}
    for split in SPLITS:
        for position, image_hash in enumerate(hashes[split]):
            places.setdefault(image_hash, []).append((split, position))

    def is_contradiction(group: list[tuple[str, int]]) -> bool:
        return len({labels[split][k] for split, k in group}) > 1

    def describe(split: str, k: int) -> dict[str, str]:
        return {"image": name(split, k), "split": split, "class": classes[labels[split][k]]}

    groups = [group for group in places.values() if len(group) > 1]
    groups.sort(key=is_contradiction, reverse=True)  # stable: otherwise in the order of the images
    sizes = {
        split: splits[split].labels.bincount(minlength=len(classes)).tolist() for split in SPLITS
    }
    return {
        "equal_images": _count_equal(hashes),
        "contradictions": sum(map(is_contradiction, groups)),
        "named": [[describe(*place) for place in group[:4]] for group in groups[:NAMED]],
        "class_sizes": {split: dict(zip(classes, sizes[split], strict=True)) for split in SPLITS},
        "imbalance": round(max(sizes["train"]) / max(1, min(sizes["train"])), 3),
    }


def _count_equal(hashes: Hashes) -> dict[str, int]:
    """Count the repetitions in each split, and a split's images that an earlier split has, too."""
    distinct = {split: set(hashes[split]) for split in SPLITS}
    within = {split: len(hashes[split]) - len(distinct[split]) for split in SPLITS}
    between = {
        f"{earlier}-{later}": sum(image in distinct[earlier] for image in hashes[later])
        for earlier, later in combinations(SPLITS, 2)
    }
    return {**within, **between}
