"""Calibrated probabilities, and the answer "unknown" where a network is likely to be wrong.

A temperature divides the logits (Guo et al., 2017, arXiv 1706.04599). Both it and the threshold are
chosen on validation images.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import minimize_scalar
from scipy.stats import beta
from torch import Tensor

from midas.io.errors import ExportError

GRID = 20  # thresholds that are compared
BINS = 15  # of the calibration error, as in the paper
LARGEST = 20.0  # temperature; the smallest is its inverse


class Reject(BaseModel):
    """When the answer is "unknown": the error among the answered images must be at most this."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error: float = Field(gt=0, lt=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)  # with which that holds


def calibrate(logits: Tensor, labels: Tensor, reject: Reject | None) -> dict[str, Any]:
    """Temperature and threshold from logits [N, classes] and labels [N], with what they achieve.

    Raises ExportError where so few images cannot show the error that `reject` asks for.
    """
    temperature = fit_temperature(logits, labels)
    probabilities = (logits / temperature).softmax(1)
    result: dict[str, Any] = {
        "temperature": temperature,
        "images": len(labels),
        "ece_before": calibration_error(logits.softmax(1), labels),
        "ece": calibration_error(probabilities, labels),
    }
    if reject is not None:
        result["threshold"] = choose_threshold(probabilities, labels, reject)
        result |= answered(probabilities, labels, result["threshold"])
    return result


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature of the smallest negative log-likelihood of logits [N, classes].

    The labels are smoothed as in Platt's scaling, by 1 / (N + 2), since a network that has all
    images right would otherwise get a temperature of zero. Four digits are kept.
    """
    logits = logits.double()
    smoothing = 1 / (len(labels) + 2)
    classes = logits.shape[1]
    targets = torch.full_like(logits, smoothing / max(1, classes - 1))
    targets.scatter_(1, labels[:, None], 1 - smoothing)

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        return float(-(targets * scaled.log_softmax(1)).sum(1).mean())

    end = math.log(LARGEST)
    best = minimize_scalar(loss, bounds=(-end, end), method="bounded", options={"xatol": 1e-6})
    return float(f"{math.exp(best.x):.4g}")


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """The expected calibration error (ECE) of probabilities [N, classes], in bins of equal width.

    It is the mean distance of confidence and accuracy over bins, weighted by their images.
    """
    confidence, predicted = probabilities.double().max(1)
    gap = (predicted == labels).double() - confidence
    bins = (confidence * BINS).long().clamp(max=BINS - 1)
    sums = torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, gap)
    return float(sums.abs().sum() / len(labels))


def certainty(probabilities: Tensor) -> Tensor:
    """How clearly the first class of each row [classes] stands before the second: 1 - p2 / p1.

    Label smoothing makes the largest probability alone a poor measure, because it gives every other
    class a share; on CIFAR-10 the ratio ranked mistakes lower.
    """
    first, second = probabilities.double().topk(2, dim=1).values.unbind(1)
    return 1 - second / first


def choose_threshold(probabilities: Tensor, labels: Tensor, reject: Reject) -> float:
    """The smallest certainty to answer at, so that the error stays below `reject.error`.

    The thresholds that answer 1, 2, ... of GRID parts of the images are tried. One holds where the
    upper Clopper-Pearson bound of the error of the answered images is small enough; each bound has
    an equal share of the allowed doubt, so that all hold together (Bonferroni; Angelopoulos et al.,
    2021, arXiv 2110.01052).
    """
    certain, order = certainty(probabilities).sort(descending=True, stable=True)
    errors = (probabilities.argmax(1) != labels)[order].cumsum(0)
    level = 1 - (1 - reject.confidence) / GRID
    for part in range(GRID, 0, -1):
        lowest = certain[max(1, len(labels) * part // GRID) - 1]
        count = int((certain >= lowest).sum())  # with all that are equally certain
        wrong = int(errors[count - 1])
        if wrong < count and beta.ppf(level, wrong + 1, count - wrong) <= reject.error:
            return math.floor(float(lowest) * 1e6) / 1e6  # runtimes differ in the last bits
    least = math.ceil(math.log(1 - level) / math.log(1 - reject.error))
    raise ExportError(
        f"export.reject: {len(labels)} validation images show no threshold with an error of at "
        f"most {reject.error:g} (it takes {least} that are right, or more); allow a larger error, "
        "or raise data.val_fraction"
    )


def answered(probabilities: Tensor, labels: Tensor, threshold: float) -> Mapping[str, float | None]:
    """The coverage at a threshold, and the error among the answered images (None without one)."""
    answers = certainty(probabilities) >= threshold
    wrong = (
        float((probabilities.argmax(1) != labels)[answers].double().mean())
        if bool(answers.any())
        else None
    )
    return {"coverage": float(answers.double().mean()), "answered_error": wrong}


def share_interval(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share of `hits` in `count`; (0, 1) where `count` is 0."""
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, hits, count - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, count - hits) if hits < count else 1.0
    return float(low), float(high)
