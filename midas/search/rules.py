"""How the weights of many samples are summed up into one for each operation and pair: the decode rules.

`mean` is the paper's (MIDAS, arXiv 2602.17700, equation 14); the others are what its reviewers asked about.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Rule = Literal["mean", "vote", "mode", "joint"]


def average(values: Tensor) -> Tensor:
    """The mean over samples: [N, ..., K] to [..., K], in float64."""
    return values.double().mean(0)


def vote(values: Tensor) -> Tensor:
    """The share of samples for which each of the K entries is the largest: [N, ..., K] to [..., K]."""
    return F.one_hot(values.argmax(-1), values.shape[-1]).double().mean(0)


def mode(values: Tensor) -> Tensor:
    """The half-sample mode over samples (Bickel and Fruehwirth 2006), entry by entry: [N, ..., K] to [..., K].

    The narrowest half of the sorted values is kept again and again; the mean of the last two or three is the mode.
    """
    ordered = values.double().flatten(1).sort(dim=0).values  # [N, entries]
    while len(ordered) > 3:
        half = -(-len(ordered) // 2)
        widths = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
        rows = widths.argmin(0) + torch.arange(half)[:, None]  # [half, entries]
        ordered = ordered.gather(0, rows)
    if len(ordered) == 3:  # the nearer two
        low = (ordered[1] - ordered[0]) <= (ordered[2] - ordered[1])
        ordered = torch.where(low, ordered[:2], ordered[1:])
    return ordered.mean(0).view(values.shape[1:])


SUMMARIES: dict[str, Callable[[Tensor], Tensor]] = {"mean": average, "vote": vote, "mode": mode}


def joint_table(a: Tensor, chosen: list[int], weight: Tensor | None) -> Tensor:
    """The mean probability of every way to choose one operation on each of some edges of a node.

    Args:
        a: operation weights of each sample [N, n, m].
        chosen: the edges, up to 4.
        weight: of each sample [N], e.g. the probability that just these edges are kept; None counts all alike.

    Returns:
        [m] * len(chosen), in float64.
    """
    factors = [a[:, i].double() for i in chosen]
    letters = "abcd"[: len(chosen)]
    terms = ",".join(f"z{letter}" for letter in letters)
    scale = torch.ones(len(a), dtype=torch.float64) if weight is None else weight.double()
    return torch.einsum(f"z,{terms}->{letters}", scale, *factors) / len(a)
