"""The paper's questions to a trained search, in numbers (MIDAS, arXiv 2602.17700, RQ1, RQ2, RQ3 and RQ5).

All read the input-specific weights of the decode stage's samples. Of a static arm, whose weights are the same for every
sample, the questions about samples have no answer, and `None` stands there.
"""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import diptest
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from midas.search.decode import NodeWeights, Samples, by_name
from midas.spaces.space import Space

SIGNIFICANCE = 0.05


class Cell(NamedTuple):
    """One cell of the stack: its type, its number among the cells of the type, its nodes' weights for every sample."""

    kind: str
    number: int
    nodes: list[NodeWeights]

    @property
    def name(self) -> str:
        """E.g. ``normal 0``."""
        return f"{self.kind} {self.number}"

    def rows(self) -> Iterator[Tensor]:
        """For each edge its operation weights [N, candidates]; edges without a choice are left out."""
        for node in self.nodes:
            for edge in node.a.unbind(1):
                weights = edge[:, edge[0] > 0]
                if weights.shape[1] > 1:
                    yield weights.double()

    def features(self) -> Tensor:
        """All operation weights of the cell, [N, features]."""
        return torch.cat(list(self.rows()), dim=1)


def cells(samples: Samples) -> list[Cell]:
    """Every cell, type by type, in the order of the stack."""
    return [Cell(kind, k, nodes) for kind, several in samples.items() for k, nodes in enumerate(several)]


def separation(cell: Cell) -> dict[str, float]:
    """RQ1: how well a cell tells its operations apart.

    `margin` and `entropy` (in nats) are of the weights averaged over samples, which is what is decoded;
    `sample_margin` and `sample_entropy` are the means over samples of their own. All are means over edges.
    """
    averaged = [row.mean(0, keepdim=True) for row in cell.rows()]
    return {
        "margin": _mean(_margin(row) for row in averaged),
        "entropy": _mean(_entropy(row) for row in averaged),
        "sample_margin": _mean(_margin(row) for row in cell.rows()),
        "sample_entropy": _mean(_entropy(row) for row in cell.rows()),
    }


def multimodality(cell: Cell) -> float | None:
    """RQ5: the share of operation weights whose distribution over samples is not unimodal.

    Hartigan's dip test at 5 %: of unimodal distributions about that share, or less, is found.
    """
    features = cell.features().numpy()
    if len(features) < 4:
        return None
    found = [diptest.diptest(np.ascontiguousarray(column))[1] < SIGNIFICANCE for column in features.T]
    return float(np.mean(found))


def between_classes(cell: Cell, labels: Tensor) -> float | None:
    """RQ5: the share of the weights' variance over samples that lies between classes, the mean over weights, in [0, 1]."""
    features = cell.features()
    if len(features) == 1:
        return None
    total = features.var(0, correction=0)
    groups = [features[labels == label] for label in labels.bincount().nonzero().flatten()]
    shift = torch.stack([(g.mean(0) - features.mean(0)).square() * (len(g) / len(features)) for g in groups]).sum(0)
    return float((shift[total > 0] / total[total > 0]).mean()) if (total > 0).any() else 0.0


def class_accuracy(features: Tensor, labels: Tensor) -> float | None:
    """RQ5: how well the class is predicted from the weights: the accuracy of a logistic regression, 5-fold, in [0, 1].

    None for a static arm, or where a class has fewer than five samples.
    """
    if len(features) == 1 or min(n for n in labels.bincount().tolist() if n) < 5:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    x: NDArray[np.float64] = features.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a regression that has not converged is still an answer
        return float(cross_val_score(model, x, labels.numpy(), cv=5).mean())


def analyse(samples: Samples, labels: Tensor) -> dict[str, Any]:
    """All of one search.

    Args:
        samples: the weights of N samples (of one, for a static arm).
        labels: the classes of those samples [N].
    """
    stack = cells(samples)
    by_cell = [
        {
            "cell": cell.name,
            **separation(cell),
            "multimodal": multimodality(cell),
            "between_classes": between_classes(cell, labels),
        }
        for cell in stack
    ]
    features = torch.cat([cell.features() for cell in stack], dim=1)
    chance = float(labels.bincount().max()) / len(labels)
    return {
        "cells": [{k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in by_cell],
        "class_accuracy": class_accuracy(features, labels),
        "chance": round(chance, 6),
    }


def weight_rows(samples: Samples, space: Space) -> list[dict[str, Any]]:
    """The mean weight of every operation on every edge of every cell, one row each (the paper's figure 2).

    Args:
        samples: of one search.
        space: the space without what the search left out.
    """
    return [
        {"cell": cell.name, "edge": f"{spec.source} to {spec.target}", "operation": op, "weight": round(w, 6)}
        for cell in cells(samples)
        for specs, node in zip(space.nodes(cell.kind), cell.nodes, strict=True)
        for spec, named in zip(specs, by_name(specs, node.a.double().mean(0)), strict=True)
        for op, w in named.items()
    ]


def without_pairs(samples: Samples) -> Samples:
    """The same weights for an ordinary top-2 choice of edges (RQ3)."""
    return {
        kind: [[NodeWeights(node.a, None) for node in nodes] for nodes in several] for kind, several in samples.items()
    }


def _mean(values: Iterator[float]) -> float:
    several = list(values)
    return sum(several) / len(several)


def _margin(rows: Tensor) -> float:
    """The mean over rows of the difference between the two largest weights."""
    top = rows.topk(2, dim=1).values
    return float((top[:, 0] - top[:, 1]).mean())


def _entropy(rows: Tensor) -> float:
    return float(-(rows * rows.clamp_min(1e-12).log()).sum(1).mean())
