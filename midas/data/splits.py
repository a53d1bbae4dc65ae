"""Stratified splits as pure functions of labels and a seed: every class keeps its share on each side.

All of them work on label tensors (int64 [N]) and answer with index tensors (int64, ascending), the same on every
platform: the shuffling is torch's Mersenne twister, the counting is integer arithmetic.
"""

import torch
from torch import Tensor

from midas.runs import seeding
from midas.runs.errors import DataError


def stratified(labels: Tensor, fraction: float, seed: int, purpose: str, keep: int = 1) -> tuple[Tensor, Tensor]:
    """Hold out a fraction of every class.

    Args:
        labels: int64 [N].
        fraction: the part to hold out, in (0, 1); each class gives at least one and keeps at least `keep`.
        seed: what the choice follows from, together with `purpose`.
        purpose: what the split is for, e.g. ``test``; other purposes choose independently.
        keep: how many of each class must stay, e.g. 2 where another split is cut from the rest.

    Returns:
        The indices kept and the indices held out.

    Raises:
        DataError: a class has `keep` members or fewer.
    """
    members = _shuffled_classes(labels, seed, purpose)
    lonely = [int(labels[group[0]]) for group in members if len(group) <= keep]
    if lonely:
        raise DataError(f"{purpose} split: class {lonely[0]} has too few images; each class needs {keep + 1}")
    quotas = _apportion([len(group) for group in members], round(fraction * len(labels)), spare=keep)
    return _pick(members, quotas)


def subset(labels: Tensor, total: int, seed: int) -> Tensor:
    """The indices of `total` members, each class in proportion and with at least one.

    Raises:
        DataError: `total` is smaller than the number of classes.
    """
    members = _shuffled_classes(labels, seed, "subset")
    if total < len(members):
        raise DataError(f"a subset of {total} images cannot hold one of each of {len(members)} classes")
    return _pick(members, _apportion([len(group) for group in members], min(total, len(labels)), spare=0))[1]


def halves(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Split the training set 50/50 for the bilevel search, each class in halves that differ by at most one.

    Returns:
        The indices that train the weights and those that train the architecture; their numbers differ by at most one.
        A class with a single member is on one side only.
    """
    dealt = torch.cat(_shuffled_classes(labels, seed, "halves"))  # class after class, dealt to the two in turn
    return dealt[0::2].sort().values, dealt[1::2].sort().values


def _shuffled_classes(labels: Tensor, seed: int, purpose: str) -> list[Tensor]:
    """For each class that occurs, in order, the indices of its members, shuffled."""
    shuffled = torch.randperm(len(labels), generator=seeding.generator(seed, "split", purpose))
    return [shuffled[labels[shuffled] == label] for label in torch.unique(labels).tolist()]


def _apportion(counts: list[int], total: int, spare: int) -> list[int]:
    """Whole numbers in proportion to `counts` that sum to `total`, each from 1 to its count less `spare`.

    The bounds win where they and the sum cannot all be met. Largest remainders, ties to the first class.
    """
    members = sum(counts)
    quotas = [min(max(total * count // members, 1), count - spare) for count in counts]
    while (missing := total - sum(quotas)) != 0:
        step = 1 if missing > 0 else -1
        open_ = [i for i, count in enumerate(counts) if 1 <= quotas[i] + step <= count - spare]
        if not open_:
            break
        # the class whose share is furthest behind (or ahead), compared without division
        chosen = max(open_, key=lambda i: step * (total * counts[i] - quotas[i] * members))
        quotas[chosen] += step
    return quotas


def _pick(members: list[Tensor], quotas: list[int]) -> tuple[Tensor, Tensor]:
    """The rest, and the first `quotas[c]` of each class c, both ascending."""
    rest = torch.cat([group[quota:] for group, quota in zip(members, quotas, strict=True)])
    picked = torch.cat([group[:quota] for group, quota in zip(members, quotas, strict=True)])
    return rest.sort().values, picked.sort().values
