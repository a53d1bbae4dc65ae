"""How the weights of many samples become one: [N, ..., K] to [..., K] in float64.

`mean` is the paper's (MIDAS, arXiv 2602.17700, equation 14); `vote` is what its reviewers asked
about. `sensitivity` takes scores (`midas.decode.sensitivity`) in place of weights.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Aggregation = Literal["mean", "vote", "sensitivity"]


def mean(values: Tensor) -> Tensor:
    """The mean over samples."""
    return values.double().mean(0)


def vote(values: Tensor) -> Tensor:
    """The share of samples whose largest entry each of K is."""
    return F.one_hot(values.argmax(-1), values.shape[-1]).double().mean(0)


def share(values: Tensor) -> Tensor:
    """The mean over samples, divided by its sum over K."""
    means = mean(values)
    return means / means.sum(-1, keepdim=True).clamp_min(1e-30)


AGGREGATIONS: dict[Aggregation, Callable[[Tensor], Tensor]] = {
    "mean": mean,
    "vote": vote,
    "sensitivity": share,
}
