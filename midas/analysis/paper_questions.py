"""The paper's questions about a trained search, answered in numbers and rows of tables.

Source: MIDAS, arXiv 2602.17700, RQ1, RQ2, RQ3 and RQ5. A static method gives all samples the same
weights; an answer about samples is then None. `space` is without `search.exclude`.
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

from midas.data.augment import normalise
from midas.data.prepared import DataMeta, Split
from midas.decode.config import DecodeConfig
from midas.decode.decode import NodeWeights, Samples, by_name, decode, sample_weights
from midas.decode.monitor import accuracy, decode_batches
from midas.genotype import Genotype
from midas.search.methods import FixedCell, Method
from midas.search.supernet import Supernet
from midas.spaces.space import EdgeSpec, Space

SIGNIFICANCE = 0.05
FOLDS = 5
BATCH = 256  # images that pass with those whose patches are shown


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
    """RQ1: margin and entropy (nats) of the weights averaged over samples, as means over edges."""
    averaged = [edge.mean(0) for edge in cell.edges()]
    tops = [edge.topk(2).values.tolist() for edge in averaged]
    entropies = [float(-(edge * edge.clamp_min(1e-12).log()).sum()) for edge in averaged]
    return {"margin": fmean(a - b for a, b in tops), "entropy": fmean(entropies)}


def multimodality(cell: Cell) -> float | None:
    """RQ5: the share of weights that are not unimodal over samples (Hartigan's dip test, 5 %)."""
    features = cell.features().numpy()
    if len(features) < 4:  # the test needs as many
        return None
    p_values = [diptest.diptest(np.ascontiguousarray(column))[1] for column in features.T]
    return fmean(p_value < SIGNIFICANCE for p_value in p_values)


def class_accuracy(features: Tensor, labels: Tensor) -> float | None:
    """RQ5: how well a regression predicts the class from the weights; None for static weights."""
    if len(features) == 1 or int(labels.unique(return_counts=True)[1].min()) < FOLDS:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a regression that has not converged is still an answer
        return float(cross_val_score(model, features.numpy(), labels.numpy(), cv=FOLDS).mean())


def analyse(samples: Samples, labels: Tensor) -> dict[str, Any]:
    """The answers of one search, as JSON values, from the weights and classes [N] of N samples."""
    cells = stack_cells(samples)
    features = torch.cat([cell.features() for cell in cells], dim=1)
    return {
        "cells": [_answers(cell) for cell in cells],
        "class_accuracy": class_accuracy(features, labels),
        "chance": round(float(labels.bincount().max()) / len(labels), 6),
    }


def analyse_search(
    supernet: Supernet,
    method: Method,
    sample: Split,
    shown: Split,
    meta: DataMeta,
    config: DecodeConfig,
    space: Space,
    genotype: Genotype,
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The answers of one search, as JSON values, and its rows of each table."""
    size = config.batch_size
    samples = sample_weights(supernet, method, decode_batches(sample, meta, size))
    accuracies = {}
    for rule, weights in (("pairs", samples), ("top-2", without_pairs(samples))):
        cell = FixedCell(decode(weights, space, config.aggregation).cells)
        accuracies[rule] = round(accuracy(supernet, cell, sample, meta, size), 6)
    answers = analyse(samples, sample.labels)
    batch = Split(sample.images[:BATCH], sample.labels[:BATCH])
    rows = {
        "cells": answers["cells"],
        "weights": weight_rows(samples, space),
        "patches": patch_rows(supernet, method, batch, shown, meta, genotype),
    }
    return {"subnetwork_accuracy": accuracies, **answers}, rows


def _answers(cell: Cell) -> dict[str, Any]:
    answers = {**separation(cell), "multimodal": multimodality(cell)}
    rounded = {k: None if value is None else round(value, 6) for k, value in answers.items()}
    return {"cell": cell.name, **rounded}


def weight_rows(samples: Samples, space: Space) -> list[dict[str, Any]]:
    """The mean weight of every operation on every edge of every cell, one row each (figure 2)."""
    return [
        {**_place(cell.name, spec), "operation": op, "weight": round(weight, 6)}
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


def one_of_each_class(sample: Split, count: int) -> Split:
    """The first image of each of the first `count` classes that have one."""
    classes = sample.labels.unique().tolist()[:count]
    places = [int((sample.labels == label).nonzero()[0]) for label in classes]
    return Split(sample.images[places], sample.labels[places])


@torch.no_grad()
def patch_rows(
    supernet: Supernet,
    method: Method,
    sample: Split,
    shown: Split,
    meta: DataMeta,
    genotype: Genotype,
) -> list[dict[str, Any]]:
    """The operation that each patch of each shown image prefers, on the genotype's edges.

    Only the first cell of each type is read. Batch norm uses the statistics of `shown` and `sample`
    together. There are no rows for a method whose weights are the same for all images.
    """
    images = normalise(torch.cat([shown.images, sample.images]), meta.mean, meta.std)
    was_training = method.training
    method.eval()
    _, weights = supernet(images, method)
    method.train(was_training)
    rows: list[dict[str, Any]] = []
    read: set[str] = set()
    for cell, nodes in zip(supernet.search_cells, weights, strict=True):
        kind = cell.node_specs[0].kind
        if kind in read:
            continue
        read.add(kind)
        kept = {(edge.source, edge.target) for edge in genotype.cells[kind].edges}
        for node_spec, node in zip(cell.node_specs, nodes, strict=True):
            for i, spec in enumerate(node_spec.edges):
                if spec[:2] in kept and len(node.op_weights) == len(images):
                    rows += _edge_rows(f"{kind} 0", spec, node.op_weights[: len(shown), :, :, i])
    return rows


def _edge_rows(cell: str, spec: EdgeSpec, weights: Tensor) -> Iterator[dict[str, Any]]:
    """The largest weight of each patch and its operation, from one edge's [N, Ph, Pw, m]."""
    values, ops = weights.max(dim=-1)  # [N, Ph, Pw]
    for image, row, column in torch.cartesian_prod(*map(torch.arange, values.shape)).tolist():
        yield {
            "image": image,
            **_place(cell, spec),
            "row": row,
            "column": column,
            "operation": spec.candidates[int(ops[image, row, column])],
            "weight": round(float(values[image, row, column]), 6),
        }


def _place(cell: str, spec: EdgeSpec) -> dict[str, Any]:
    return {"cell": cell, "edge": f"{spec.source} to {spec.target}"}
