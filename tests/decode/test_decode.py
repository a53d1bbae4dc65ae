"""Decoding averages over samples and patches in a cell, then over cells, and keeps the best."""

from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from midas.analysis.paper_questions import weight_rows
from midas.decode.decode import (
    Aggregation,
    NodeWeights,
    Samples,
    decode,
    distributions,
    is_static,
    mean,
    sample_weights,
    vote,
)
from midas.io.errors import ParamsError
from midas.proxy.local_search import op_shares
from midas.search.methods import ArchWeights, Method, NodeSpec
from midas.search.supernet import Supernet
from midas.spaces import get_space
from midas.spaces.space import EdgeSpec, Space, complete_edges

OPS = ("none", "skip_connect", "sep_conv_3x3")
SPACE = Space("toy", "darts", 2, {"normal": complete_edges(2, 2, OPS)}, (2, 3), keep=2)


def node(op_weights: list[list[float]], pair_probs: list[float] | None) -> NodeWeights:
    """The weights of a node for one sample."""
    return NodeWeights(
        torch.tensor([op_weights], dtype=torch.float64),
        None if pair_probs is None else torch.tensor([pair_probs], dtype=torch.float64),
    )


def one_cell(*nodes: NodeWeights) -> Samples:
    """The samples of one normal cell."""
    return {"normal": [list(nodes)]}


def join(*nodes: NodeWeights) -> NodeWeights:
    """Several samples of one node."""
    pair_probs = [node.pair_probs for node in nodes if node.pair_probs is not None]
    op_weights = torch.cat([node.op_weights for node in nodes])
    return NodeWeights(op_weights, torch.cat(pair_probs) if pair_probs else None)


def edges_of(samples: Samples, target: int, aggregation: Aggregation = "mean") -> list[tuple]:
    """Operation and source of the decoded edges into a node."""
    edges = decode(samples, SPACE, aggregation).cells["normal"].edges
    return [(edge.op, edge.source) for edge in edges if edge.target == target]


FIRST = node([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]], [1.0])


def test_the_most_probable_pair_is_kept_with_the_best_operation_on_each_edge() -> None:
    second = node([[0.1, 0.3, 0.6], [0.0, 0.9, 0.1], [0.3, 0.4, 0.3]], [0.2, 0.5, 0.3])
    samples = one_cell(FIRST, second)
    assert edges_of(samples, 2) == [("skip_connect", 0), ("sep_conv_3x3", 1)]
    assert edges_of(samples, 3) == [("sep_conv_3x3", 0), ("skip_connect", 2)]


def test_none_is_never_decoded_where_edges_are_chosen() -> None:
    second = node([[0.9, 0.04, 0.06]] * 3, [1.0, 0.0, 0.0])
    edges = edges_of(one_cell(FIRST, second), 3)
    assert edges == [("sep_conv_3x3", 0), ("sep_conv_3x3", 1)]


def test_without_pairs_the_two_edges_of_largest_non_none_weight_are_kept_as_in_darts() -> None:
    second = node([[0.9, 0.05, 0.05], [0.1, 0.45, 0.45], [0.2, 0.2, 0.6]], None)
    edges = edges_of(one_cell(FIRST, second), 3)
    assert edges == [("skip_connect", 1), ("sep_conv_3x3", 2)]


def test_of_equal_pairs_and_operations_the_earlier_are_kept() -> None:
    even = [1 / 3] * 3
    for pair_probs in (even, None):
        edges = edges_of(one_cell(FIRST, node([even] * 3, pair_probs)), 3)
        assert edges == [("skip_connect", 0), ("skip_connect", 1)]


def test_a_space_that_keeps_all_edges_may_decode_none() -> None:
    space = get_space("nasbench201")
    nodes = [node([[0.6, 0.1, 0.1, 0.1, 0.1]] * n, None) for n in (1, 2, 3)]
    arch = decode({"cell": [nodes]}, space).to_arch()
    assert arch == "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


class Stub(Method):
    """A method that gives prepared answers, cell by cell."""

    def __init__(self, answers: Sequence[Tensor]) -> None:
        super().__init__()
        self.answers = list(answers)

    def forward(
        self, node_spec: NodeSpec, inputs: Sequence[Tensor], op_outputs: Sequence[Tensor]
    ) -> ArchWeights:
        op_weights = self.answers.pop(0)
        return ArchWeights(op_weights.flatten(-2), op_weights)


TOY = Space("toy", "nasbench201", 1, {"cell": complete_edges(1, 1, OPS)}, (1,), keep=None)
BATCHES = [torch.randn(3, 3, 4, 4), torch.randn(2, 3, 4, 4)]


def toy_supernet() -> Supernet:
    """Three cells of one node with one edge."""
    return Supernet(TOY, 2, 1, num_classes=2)


def test_every_sample_counts_the_same_and_every_patch_of_a_sample_and_every_cell() -> None:
    answers = [torch.rand(batch, side, side, 1, 3) for batch in (3, 2) for side in (4, 2, 1)]
    samples = sample_weights(toy_supernet(), Stub(answers), BATCHES)
    cells = [
        torch.cat([answers[k].mean((1, 2)), answers[3 + k].mean((1, 2))]).mean(0) for k in range(3)
    ]
    expected = torch.stack(cells).mean(0).double()
    assert torch.allclose(distributions(samples)["cell"][0].op_weights, expected, atol=1e-6)


def test_pair_probabilities_are_averaged_over_patches_and_kept_for_every_sample() -> None:
    class Pairs(Stub):
        def forward(
            self, node_spec: NodeSpec, inputs: Sequence[Tensor], op_outputs: Sequence[Tensor]
        ) -> ArchWeights:
            pair_probs = self.answers.pop(0)
            return ArchWeights(pair_probs, torch.ones(*pair_probs.shape[:3], 1, 3), pair_probs)

    answers = [torch.rand(batch, side, side, 3) for batch in (3, 2) for side in (4, 2, 1)]
    cells = sample_weights(toy_supernet(), Pairs(answers), BATCHES)["cell"]
    for k, (first_node,) in enumerate(cells):
        expected = torch.cat([answers[k].mean((1, 2)), answers[3 + k].mean((1, 2))])
        assert first_node.pair_probs is not None
        assert torch.allclose(first_node.pair_probs, expected)  # [5 samples, 3 pairs]
        assert first_node.op_weights.shape == (5, 1, 3)


def test_static_weights_are_kept_once_however_many_samples_there_are() -> None:
    answer = torch.rand(1, 1, 1, 1, 3)
    samples = sample_weights(toy_supernet(), Stub([answer] * 6), [torch.randn(2, 3, 4, 4)] * 2)
    assert is_static(samples)
    assert samples["cell"][0][0].op_weights.shape == (1, 1, 3)
    op_weights = distributions(samples)["cell"][0].op_weights
    assert torch.allclose(op_weights, answer[0, 0, 0].double())


def test_cells_of_a_type_count_the_same_whatever_their_number_of_samples() -> None:
    first = join(*3 * [node([[1.0, 0.0]], [1.0, 0.0])])
    second = node([[0.0, 1.0]], [0.0, 1.0])
    (average,) = distributions({"normal": [[first], [second]]})["normal"]
    assert average.op_weights.tolist() == [[0.5, 0.5]]
    assert average.pair_probs is not None
    assert average.pair_probs.tolist() == [0.5, 0.5]


def test_vote_counts_samples_where_mean_adds_weights() -> None:
    left = node([[0.0, 0.55, 0.45]] * 2, [1.0])  # hardly prefers the skip
    right = node([[0.0, 0.0, 1.0]] * 2, [1.0])
    samples = one_cell(join(left, left, right), join(*3 * [node([[0.1, 0.3, 0.6]] * 3, None)]))
    assert edges_of(samples, 2, "mean")[0] == ("sep_conv_3x3", 0)
    assert edges_of(samples, 2, "vote")[0] == ("skip_connect", 0)


def test_a_vote_is_the_share_of_samples_whose_largest_entry_it_is() -> None:
    values = torch.tensor([[[0.1, 0.9]], [[0.6, 0.4]], [[0.2, 0.8]], [[0.5, 0.5]]])
    assert vote(values).tolist() == [[0.5, 0.5]]
    assert mean(values).tolist() == [[pytest.approx(0.35), pytest.approx(0.65)]]


def test_the_json_form_of_a_node_has_names_and_six_digits() -> None:
    specs = [EdgeSpec(i, 3, OPS[1:]) for i in range(3)]
    op_weights = torch.tensor([[1 / 3, 2 / 3], [0.25, 0.75], [1.0, 0.0]], dtype=torch.float64)
    value = NodeWeights(op_weights, torch.tensor([0.5, 1 / 3, 1 / 6])).to_value(specs)
    assert value == {
        "target": 3,
        "edges": [
            {"source": 0, "operations": {"skip_connect": 0.333333, "sep_conv_3x3": 0.666667}},
            {"source": 1, "operations": {"skip_connect": 0.25, "sep_conv_3x3": 0.75}},
            {"source": 2, "operations": {"skip_connect": 1.0, "sep_conv_3x3": 0.0}},
        ],
        "pairs": [
            {"sources": [0, 1], "probability": 0.5},
            {"sources": [0, 2], "probability": 0.333333},
            {"sources": [1, 2], "probability": 0.166667},
        ],
    }
    assert NodeWeights(op_weights, None).to_value(specs)["pairs"] == []


def test_a_method_is_read_in_evaluation_and_left_in_its_mode() -> None:
    method = Stub([torch.rand(1, 1, 1, 1, 3)] * 6)
    for training in (True, False):
        method.train(training)
        sample_weights(toy_supernet(), method, [torch.randn(2, 3, 4, 4)])
        assert method.training is training
    with pytest.raises(ValueError, match="at least one batch"):
        sample_weights(toy_supernet(), method, [])


@given(st.integers(1, 40), st.integers(0, 1000))
def test_all_aggregations_agree_on_samples_that_agree(samples: int, seed: int) -> None:
    torch.manual_seed(seed)
    op_weights = torch.rand(1, 3, 3)
    op_weights[..., 0] = 0
    pair_probs = torch.softmax(torch.rand(1, 3), -1)
    second = NodeWeights(op_weights.expand(samples, -1, -1), pair_probs.expand(samples, -1))
    first = join(*samples * [FIRST])
    aggregations: Sequence[Aggregation] = get_args(Aggregation)
    cells = {decode(one_cell(first, second), SPACE, how).hash for how in aggregations}
    assert len(cells) == 1


@given(st.integers(0, 1000))
def test_all_aggregations_keep_the_strongest_edges_of_static_weights(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    space = Space("toy", "darts", 2, {"normal": complete_edges(2, 3, OPS)}, (2, 3, 4), keep=2)
    nodes = [
        NodeWeights(torch.softmax(torch.rand(1, n, 3, generator=generator), -1), None)
        for n in (2, 3, 4)
    ]
    aggregations: Sequence[Aggregation] = get_args(Aggregation)
    assert len({decode(one_cell(*nodes), space, how).hash for how in aggregations}) == 1


def test_weights_of_other_candidates_are_refused_and_not_read_by_the_wrong_names() -> None:
    searched = SPACE.without(["none"])
    samples = one_cell(
        node([[0.6, 0.4], [0.3, 0.7]], [1.0]),
        node([[0.6, 0.4], [0.3, 0.7], [0.5, 0.5]], [0.2, 0.5, 0.3]),
    )
    assert decode(samples, searched).cells["normal"].edges[0].op == "skip_connect"
    message = r"weights of node 2 are \[2, 2\] where the space has \[2, 3\]: .*search.exclude"
    with pytest.raises(ParamsError, match=message):
        decode(samples, SPACE)
    with pytest.raises(ParamsError, match=message):
        op_shares(samples, SPACE, "mean", images=1)
    with pytest.raises(ParamsError, match=message):
        weight_rows(samples, SPACE)
    with pytest.raises(ParamsError, match=r"search.exclude"):
        distributions(samples)["normal"][0].to_value(SPACE.nodes("normal")[0])
