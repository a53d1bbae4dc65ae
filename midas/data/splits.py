"""Stratified splits: each class keeps its share on every side.

The functions take labels, int64 [N], and a seed, and return ascending indices, int64. They give
the same result on every platform: torch's Mersenne twister shuffles, and whole numbers count.
"""

import torch
from torch import Tensor

from midas.engine import seeding
from midas.io.errors import DataError


def stratified(
    labels: Tensor, fraction: float, seed: int, purpose: str, keep: int = 1
) -> tuple[Tensor, Tensor]:
    """Hold out a fraction of every class; return the indices kept and those held out.

    At least one image of each class is held out and at least `keep` are kept; a class of fewer is
    a DataError. Different purposes, e.g. ``test``, choose independently.
    """
    groups = _shuffle_classes(labels, seed, purpose)
    too_small = [int(labels[group[0]]) for group in groups if len(group) <= keep]
    if too_small:
        raise DataError(
            f"{purpose} split: class {too_small[0]} has too few images; each class needs {keep + 1}"
        )
    return _pick(groups, round(fraction * len(labels)), keep)


def subset(labels: Tensor, total: int, seed: int) -> Tensor:
    """Choose `total` images (`data.max_images`), from each class its share and at least one."""
    groups = _shuffle_classes(labels, seed, "subset")
    if total < len(groups):
        raise DataError(
            f"data.max_images: {total} is less than the {len(groups)} classes; raise it"
        )
    return _pick(groups, min(total, len(labels)), keep=0)[1]


def split_in_halves(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Split the training set 50/50 for the bilevel search, and each class as evenly as possible.

    Return the indices that train the weights, and those that train the architecture.
    """
    # class after class, dealt to the two sides in turn; "halves" is part of the seed
    ordered = torch.cat(_shuffle_classes(labels, seed, "halves"))
    return ordered[0::2].sort().values, ordered[1::2].sort().values


def _shuffle_classes(labels: Tensor, seed: int, purpose: str) -> list[Tensor]:
    """List the shuffled indices of each class that occurs, in the order of the labels."""
    shuffled = torch.randperm(len(labels), generator=seeding.generator(seed, "split", purpose))
    return [shuffled[labels[shuffled] == label] for label in torch.unique(labels).tolist()]


def _apportion(counts: list[int], total: int, keep: int) -> list[int]:
    """Divide `total` in proportion to `counts`; each quota is from 1 to its count less `keep`.

    These bounds matter more than the sum, if both cannot be met. Largest remainders decide, and
    the first class wins a tie.
    """
    images = sum(counts)
    quotas = [min(max(total * count // images, 1), count - keep) for count in counts]
    while (missing := total - sum(quotas)) != 0:
        step = 1 if missing > 0 else -1
        adjustable = [i for i, count in enumerate(counts) if 1 <= quotas[i] + step <= count - keep]
        if not adjustable:
            break
        # the class whose share is furthest behind (or ahead), compared without division
        chosen = max(adjustable, key=lambda i: step * (total * counts[i] - quotas[i] * images))
        quotas[chosen] += step
    return quotas


def _pick(groups: list[Tensor], total: int, keep: int) -> tuple[Tensor, Tensor]:
    """Pick the first indices of each class, `total` in all; return the others, then those."""
    pairs = list(zip(groups, _apportion(list(map(len, groups)), total, keep), strict=True))
    rest = torch.cat([group[quota:] for group, quota in pairs])
    picked = torch.cat([group[:quota] for group, quota in pairs])
    return rest.sort().values, picked.sort().values
