"""The paper's questions about a trained search, answered in numbers.

Source: MIDAS, arXiv 2602.17700, RQ1, RQ2, RQ3 and RQ5. All answers follow from the weights that a
search gives to the samples of the decode stage. A static method gives all samples the same weights;
an answer about samples is then None.
"""

import warnings
from collections.abc import Iterator
from statistics import fmean
from typing import Any, NamedTuple

import diptest
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from midas.decode.decode import NodeWeights, Samples, by_name
from midas.spaces.space import Space

SIGNIFICANCE = 0.05
FOLDS = 5


class Cell(NamedTuple):
    """One cell of the stack: its type, its number among the cells of that type, and its nodes."""

    kind: str
    number: int
    nodes: list[NodeWeights]

    @property
    def name(self) -> str:
        """E.g. ``normal 0``."""
        return f"{self.kind} {self.number}"

    def edges(self) -> Iterator[Tensor]:
        """The operation weights [N, candidates] of each edge that has a choice, in float64."""
        for node in self.nodes:
            for edge in node.op_weights.unbind(1):
                weights = edge[:, edge[0] > 0]
                if weights.shape[1] > 1:
                    yield weights.double()

    def features(self) -> Tensor:
        """All operation weights of the cell, [N, features]."""
        return torch.cat(list(self.edges()), dim=1)


def stack_cells(samples: Samples) -> list[Cell]:
    """Every cell, type by type, in the order of the stack."""
    return [
        Cell(kind, k, nodes) for kind, cells in samples.items() for k, nodes in enumerate(cells)
    ]


def separation(cell: Cell) -> dict[str, float]:
    """RQ1: how well a cell tells its operations apart, as means over its edges.

    `margin` and `entropy` (in nats) are those of the weights averaged over samples, which are what
    is decoded. `sample_margin` and `sample_entropy` are averages over the samples' own.
    """
    edges = list(cell.edges())
    averaged = [edge.mean(0, keepdim=True) for edge in edges]
    return {
        "margin": fmean(map(_margin, averaged)),
        "entropy": fmean(map(_entropy, averaged)),
        "sample_margin": fmean(map(_margin, edges)),
        "sample_entropy": fmean(map(_entropy, edges)),
    }


def multimodality(cell: Cell) -> float | None:
    """RQ5: the share of operation weights whose distribution over samples is not unimodal.

    Hartigan's dip test decides at a level of 5 %, so unimodal weights give 0.05 or less.
    """
    features = cell.features().numpy()
    if len(features) < 4:  # the test needs as many
        return None
    p_values = [diptest.diptest(np.ascontiguousarray(column))[1] for column in features.T]
    return fmean(p_value < SIGNIFICANCE for p_value in p_values)


def between_classes(cell: Cell, labels: Tensor) -> float | None:
    """RQ5: the share of the weights' variance over samples that lies between classes.

    It is the mean over the weights that vary, in [0, 1].
    """
    features = cell.features()
    if len(features) == 1:
        return None
    total = features.var(0, correction=0)
    varies = total > 0
    if not varies.any():
        return 0.0
    between = torch.zeros_like(total)
    for label in labels.unique():
        group = features[labels == label]
        between += (group.mean(0) - features.mean(0)).square() * (len(group) / len(features))
    return float((between[varies] / total[varies]).mean())


def class_accuracy(features: Tensor, labels: Tensor) -> float | None:
    """RQ5: how well the weights predict the class.

    It is the accuracy in [0, 1] of a logistic regression under cross-validation; None also where a
    class has fewer samples than there are folds.
    """
    if len(features) == 1 or int(labels.unique(return_counts=True)[1].min()) < FOLDS:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a regression that has not converged is still an answer
        return float(cross_val_score(model, features.numpy(), labels.numpy(), cv=FOLDS).mean())


def analyse(samples: Samples, labels: Tensor) -> dict[str, Any]:
    """Ask one search all questions; the answers are JSON values.

    Args:
        samples: the weights of N samples (of one, for a static method).
        labels: the classes of these samples [N].
    """
    cells = stack_cells(samples)
    features = torch.cat([cell.features() for cell in cells], dim=1)
    return {
        "cells": [_answers(cell, labels) for cell in cells],
        "class_accuracy": class_accuracy(features, labels),
        "chance": round(float(labels.bincount().max()) / len(labels), 6),
    }


def _answers(cell: Cell, labels: Tensor) -> dict[str, Any]:
    """The answers about one cell, rounded."""
    answers = {
        **separation(cell),
        "multimodal": multimodality(cell),
        "between_classes": between_classes(cell, labels),
    }
    rounded = {k: None if value is None else round(value, 6) for k, value in answers.items()}
    return {"cell": cell.name, **rounded}


def weight_rows(samples: Samples, space: Space) -> list[dict[str, Any]]:
    """The mean weight of every operation on every edge of every cell, one row each (figure 2).

    Args:
        samples: the weights of one search.
        space: what was searched, without `search.exclude`.
    """
    return [
        {
            "cell": cell.name,
            "edge": f"{spec.source} to {spec.target}",
            "operation": op,
            "weight": round(weight, 6),
        }
        for cell in stack_cells(samples)
        for specs, node in zip(space.nodes(cell.kind), cell.nodes, strict=True)
        for spec, named in zip(specs, by_name(specs, node.op_weights.double().mean(0)), strict=True)
        for op, weight in named.items()
    ]


def without_pairs(samples: Samples) -> Samples:
    """The same weights for an ordinary choice of a node's two strongest edges (RQ3)."""
    return {
        kind: [[NodeWeights(node.op_weights, None) for node in nodes] for nodes in cells]
        for kind, cells in samples.items()
    }


def _margin(edge: Tensor) -> float:
    """The difference between the two largest weights [N, candidates], averaged over samples."""
    top = edge.topk(2, dim=1).values
    return float((top[:, 0] - top[:, 1]).mean())


def _entropy(edge: Tensor) -> float:
    """The entropy of the weights [N, candidates] in nats, averaged over samples."""
    return float(-(edge * edge.clamp_min(1e-12).log()).sum(1).mean())
