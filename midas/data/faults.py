"""What may be wrong with a data set that can be read: images that stand in it twice, one image under two classes, classes
of unequal size.

Images count as equal where their prepared pixels are. Near-duplicates (another size, crop or compression of the same
picture) are not looked for. Nothing is removed: what is right to remove is the user's to know.
"""

import hashlib
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from midas.data.prepared import SPLITS, Split

NAMED = 50  # groups of equal images that a report names
Hashes = Mapping[str, list[bytes]]


def hash_images(split: Split) -> list[bytes]:
    """The SHA-256 of each image's pixels."""
    pixels = np.ascontiguousarray(split.images.permute(0, 2, 3, 1).numpy())  # [N, H, W, 3], as they lie in memory
    return [hashlib.sha256(image).digest() for image in pixels]


def find_faults(
    splits: Mapping[str, Split], hashes: Hashes, classes: tuple[str, ...], name: Callable[[str, int], str]
) -> dict[str, Any]:
    """The data report.

    Args:
        splits: train, val and test.
        hashes: of each split's images, from `hash_images`.
        classes: the class names.
        name: what people call the image at a position of a split.

    Returns:
        JSON values. ``equal_images``: for each split how many of its images repeat an earlier one, and for each two
        splits, e.g. ``train-test``, how many images of the second stand in the first. ``contradictions``: how many
        pictures stand under more than one class. ``named``: the first of both kinds by name, those under several
        classes first. ``class_sizes`` of each split, and ``imbalance``: the largest training class over the smallest.
    """
    places: dict[bytes, list[tuple[str, int]]] = {}
    for split in SPLITS:
        for position, image in enumerate(hashes[split]):
            places.setdefault(image, []).append((split, position))
    groups = [group for group in places.values() if len(group) > 1]
    labels = {split: splits[split].labels.tolist() for split in SPLITS}
    contradictory = [len({labels[split][position] for split, position in group}) > 1 for group in groups]
    first = sorted(range(len(groups)), key=lambda k: not contradictory[k])[:NAMED]
    sizes = {split: splits[split].labels.bincount(minlength=len(classes)).tolist() for split in SPLITS}
    return {
        "equal_images": _count_equal(hashes),
        "contradictions": sum(contradictory),
        "named": [
            [
                {"image": name(split, p), "split": split, "class": classes[labels[split][p]]}
                for split, p in groups[k][:4]
            ]
            for k in first
        ],
        "class_sizes": {split: dict(zip(classes, sizes[split], strict=True)) for split in SPLITS},
        "imbalance": round(max(sizes["train"]) / max(1, min(sizes["train"])), 3),
    }


def _count_equal(hashes: Hashes) -> dict[str, int]:
    """The repetitions within each split, and the images of each split that stand in an earlier one."""
    distinct = {split: set(hashes[split]) for split in SPLITS}
    within = {split: len(hashes[split]) - len(distinct[split]) for split in SPLITS}
    between = {f"{a}-{b}": sum(image in distinct[a] for image in hashes[b]) for a, b in combinations(SPLITS, 2)}
    return {**within, **between}
