"""The paper's questions, on weights whose answers are known."""

import math

import pytest
import torch
from torch import Tensor

from midas.analysis.paper_questions import (
    Cell,
    analyse,
    multimodality,
    separation,
    weight_rows,
    without_pairs,
)
from midas.decode.decode import NodeWeights, decode
from midas.spaces.space import Space, complete_edges

OPS = ("skip_connect", "sep_conv_3x3")
SPACE = Space("toy", "darts", 2, {"normal": complete_edges(2, 2, OPS)}, (2, 3), keep=2)
LABELS = torch.arange(400) % 4


def draws(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def cell(first: Tensor) -> Cell:
    """A cell of one edge with two operations whose first weight is given for each sample."""
    return Cell("normal", 0, [NodeWeights(torch.stack([first, 1 - first], dim=-1)[:, None], None)])


def test_margin_and_entropy_are_those_of_the_mean_over_samples() -> None:
    answers = separation(cell(torch.tensor([0.9, 0.1], dtype=torch.float64)))
    assert answers["margin"] == pytest.approx(0, abs=1e-9)
    assert answers["entropy"] == pytest.approx(math.log(2))


def test_two_crowds_are_multimodal_and_one_is_not() -> None:
    single = 0.5 + 0.02 * draws(400)
    double = torch.where(torch.arange(400) % 2 == 0, 0.3, 0.7) + 0.02 * draws(400)
    assert multimodality(cell(single)) == 0
    assert multimodality(cell(double)) == 1


def test_weights_that_follow_the_class_are_told_from_weights_that_do_not() -> None:
    follows = 0.2 + 0.15 * LABELS + 0.01 * draws(400)
    random = 0.5 + 0.02 * draws(400)
    results = [analyse({"normal": [cell(first).nodes]}, LABELS) for first in (follows, random)]
    assert results[0]["class_accuracy"] > 0.9
    assert results[1]["class_accuracy"] < 0.4
    assert results[0]["chance"] == 0.25


def test_a_static_method_has_no_answer_about_samples() -> None:
    answers = analyse({"normal": [cell(torch.tensor([0.6])).nodes]}, LABELS)
    assert answers["class_accuracy"] is None
    assert answers["cells"][0]["multimodal"] is None
    assert answers["cells"][0]["margin"] == pytest.approx(0.2)


def test_every_weight_of_every_cell_has_its_row() -> None:
    nodes = [NodeWeights(torch.rand(5, n, 2), None) for n in (2, 3)]
    rows = weight_rows({"normal": [nodes, nodes]}, SPACE)
    assert len(rows) == 2 * 5 * 2
    assert rows[0] == {
        "cell": "normal 0",
        "edge": "0 to 2",
        "operation": "skip_connect",
        "weight": pytest.approx(float(nodes[0].op_weights[:, 0, 0].mean()), abs=1e-6),
    }


def test_without_pairs_the_strongest_edges_are_kept() -> None:
    weights = torch.tensor([[[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]])
    nodes = [
        NodeWeights(torch.rand(1, 2, 2), torch.ones(1, 1)),
        NodeWeights(weights, torch.tensor([[0.9, 0.1, 0.0]])),
    ]
    samples = {"normal": [nodes]}
    kept = [
        [e.source for e in decode(s, SPACE).cells["normal"].edges if e.target == 3]
        for s in (samples, without_pairs(samples))
    ]
    assert kept == [[0, 1], [1, 2]]
