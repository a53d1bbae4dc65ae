"""Decoding: the average over samples and patches in a cell, then over cells; the best pair, the best operation."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from midas.analysis.questions import weight_rows
from midas.runs.errors import ParamsError
from midas.search.arms import Arm, Choice, NodeSite
from midas.search.decode import NodeWeights, Samples, decode, deviations, distributions, mean, sample_weights
from midas.search.refine import operation_shares
from midas.search.rules import Rule, joint_table, mode
from midas.search.selection import agreement
from midas.search.supernet import Supernet
from midas.spaces import get_space
from midas.spaces.space import EdgeSpec, Space, complete_edges

OPS = ("none", "skip_connect", "sep_conv_3x3")
SPACE = Space("toy", "darts", 2, {"normal": complete_edges(2, 2, OPS)}, (2, 3), keep=2)


def node(rows: list[list[float]], pi: list[float] | None) -> NodeWeights:
    """The weights of a node for one sample."""
    return NodeWeights(
        torch.tensor([rows], dtype=torch.float64), None if pi is None else torch.tensor([pi], dtype=torch.float64)
    )


def cell(*nodes: NodeWeights) -> Samples:
    """The samples of one normal cell."""
    return {"normal": [list(nodes)]}


def together(*several: NodeWeights) -> NodeWeights:
    """Several samples of one node."""
    pi = [one.pi for one in several if one.pi is not None]
    return NodeWeights(torch.cat([one.a for one in several]), torch.cat(pi) if pi else None)


FIRST = node([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]], [1.0])


def test_the_most_probable_pair_is_kept_with_the_best_operation_on_each_edge() -> None:
    second = node([[0.1, 0.3, 0.6], [0.0, 0.9, 0.1], [0.3, 0.4, 0.3]], [0.2, 0.5, 0.3])
    edges = decode(cell(FIRST, second), SPACE).cells["normal"].edges
    assert [tuple(e) for e in edges] == [
        ("skip_connect", 0, 2), ("sep_conv_3x3", 1, 2), ("sep_conv_3x3", 0, 3), ("skip_connect", 2, 3),
    ]  # fmt: skip


def test_none_is_never_decoded_where_edges_are_chosen() -> None:
    second = node([[0.9, 0.04, 0.06]] * 3, [1.0, 0.0, 0.0])
    edges = decode(cell(FIRST, second), SPACE).cells["normal"].edges
    assert {e.op for e in edges if e.target == 3} == {"sep_conv_3x3"}


def test_without_pairs_the_two_edges_of_largest_non_none_weight_are_kept_as_in_darts() -> None:
    second = node([[0.9, 0.05, 0.05], [0.1, 0.45, 0.45], [0.2, 0.2, 0.6]], None)
    edges = decode(cell(FIRST, second), SPACE).cells["normal"].edges
    assert [e.source for e in edges if e.target == 3] == [1, 2]


def test_a_space_that_keeps_all_edges_may_decode_none() -> None:
    space = get_space("nasbench201")
    nodes = [node([[0.6, 0.1, 0.1, 0.1, 0.1]] * n, None) for n in (1, 2, 3)]
    assert decode({"cell": [nodes]}, space).to_arch() == "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


class Stub(Arm):
    """An arm that answers what it is given, pass by pass."""

    def __init__(self, answers: list[Tensor]) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> Choice:
        a = self.answers.pop(0)
        return Choice(a.flatten(-2), a)


TOY = Space("toy", "nasbench201", 1, {"cell": complete_edges(1, 1, OPS)}, (1,), keep=None)


def test_every_sample_counts_the_same_and_every_patch_of_a_sample_and_every_cell() -> None:
    supernet = Supernet(TOY, 2, 1, num_classes=2)
    answers = [torch.rand(batch, side, side, 1, 3) for batch in (3, 2) for side in (4, 2, 1)]
    batches = [torch.randn(3, 3, 4, 4), torch.randn(2, 3, 4, 4)]
    found = distributions(sample_weights(supernet, Stub([a.clone() for a in answers]).eval(), batches))
    cells = [torch.cat([answers[k].mean((1, 2)), answers[3 + k].mean((1, 2))]).mean(0) for k in range(3)]
    assert torch.allclose(found["cell"][0].a, torch.stack(cells).mean(0).double(), atol=1e-6)


def test_pair_probabilities_are_averaged_over_patches_and_kept_for_every_sample() -> None:
    class Pairs(Stub):
        def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> Choice:
            pi = self.answers.pop(0)
            return Choice(pi, torch.ones(*pi.shape[:3], 1, 3), pi)

    answers = [torch.rand(batch, side, side, 3) for batch in (3, 2) for side in (4, 2, 1)]
    batches = [torch.randn(3, 3, 4, 4), torch.randn(2, 3, 4, 4)]
    supernet = Supernet(TOY, 2, 1, num_classes=2)
    found = sample_weights(supernet, Pairs([pi.clone() for pi in answers]), batches)["cell"]
    for k, cell_ in enumerate(found):
        expected = torch.cat([answers[k].mean((1, 2)), answers[3 + k].mean((1, 2))])  # [5 samples, 3 pairs]
        assert cell_[0].pi is not None
        assert torch.allclose(cell_[0].pi, expected)
        assert cell_[0].a.shape == (5, 1, 3)


def test_static_weights_are_kept_once_however_many_samples_there_are() -> None:
    supernet, a = Supernet(TOY, 2, 1, num_classes=2), torch.rand(1, 1, 1, 1, 3)
    samples = sample_weights(supernet, Stub([a] * 6), [torch.randn(2, 3, 4, 4)] * 2)
    assert samples["cell"][0][0].a.shape == (1, 1, 3)
    assert torch.allclose(distributions(samples)["cell"][0].a, a[0, 0, 0].double())
    assert not deviations(samples)["cell"][0].a.any()


def test_cells_of_a_type_count_the_same() -> None:
    assert mean([node([[1.0, 0.0]], None), node([[0.0, 1.0]], None)]).a.tolist() == [[[0.5, 0.5]]]


LEFT, RIGHT = [0.0, 0.55, 0.45], [0.0, 0.0, 1.0]  # two samples out of three hardly prefer the skip


def test_vote_counts_samples_where_mean_adds_weights() -> None:
    first = together(*(node([row, row], [1.0]) for row in (LEFT, LEFT, RIGHT)))
    second = node([[0.1, 0.3, 0.6]] * 3, [1.0, 0.0, 0.0])
    chosen = {rule: decode(cell(first, second), SPACE, rule).cells["normal"].edges[0].op for rule in ("mean", "vote")}
    assert chosen == {"mean": "sep_conv_3x3", "vote": "skip_connect"}


def test_joint_takes_what_goes_together() -> None:
    # either edge prefers the skip on average, but never both in the same sample: skip and convolution go together best
    skip, conv = [0.0, 0.9, 0.1], [0.0, 0.2, 0.8]
    first = together(node([skip, conv], [1.0]), node([conv, skip], [1.0]))
    second = node([[0.1, 0.3, 0.6]] * 3, [1.0, 0.0, 0.0])
    ops = [e.op for e in decode(cell(first, second), SPACE, "joint").cells["normal"].edges][:2]
    assert sorted(ops) == ["sep_conv_3x3", "skip_connect"]
    assert [e.op for e in decode(cell(first, second), SPACE).cells["normal"].edges][:2] == ["skip_connect"] * 2


def test_joint_keeps_the_pair_that_is_most_probable_with_its_operations() -> None:
    sure, unsure = [0.0, 0.0, 1.0], [0.0, 0.5, 0.5]
    second = node([sure, unsure, sure], [0.4, 0.35, 0.25])  # pairs (0,1), (0,2), (1,2)
    edges = decode(cell(FIRST, second), SPACE, "joint").cells["normal"].edges
    assert [(e.op, e.source) for e in edges if e.target == 3] == [("sep_conv_3x3", 0), ("sep_conv_3x3", 2)]


def test_joint_weighs_operations_by_the_probability_of_their_pair() -> None:
    sure = [0.0, 0.0, 1.0]
    second = node([sure, sure, sure], [0.1, 0.3, 0.6])  # pairs (0,1), (0,2), (1,2)
    assert [e.source for e in decode(cell(FIRST, second), SPACE, "joint").cells["normal"].edges if e.target == 3] == [
        1,
        2,
    ]


def test_joint_takes_the_earlier_of_equal_pairs_and_operations() -> None:
    even = [1 / 3] * 3
    edges = decode(cell(FIRST, node([even] * 3, even)), SPACE, "joint").cells["normal"].edges
    assert [tuple(e) for e in edges if e.target == 3] == [("skip_connect", 0, 3), ("skip_connect", 1, 3)]


def test_joint_without_pairs_keeps_the_edges_that_darts_would() -> None:
    second = node([[0.9, 0.05, 0.05], [0.1, 0.45, 0.45], [0.2, 0.2, 0.6]], None)
    edges = decode(cell(FIRST, second), SPACE, "joint").cells["normal"].edges
    assert [(e.op, e.source) for e in edges if e.target == 3] == [("skip_connect", 1), ("sep_conv_3x3", 2)]


def test_joint_may_decode_none_where_all_edges_are_kept() -> None:
    nodes = [node([[0.6, 0.1, 0.1, 0.1, 0.1]] * n, [1.0] * n) for n in (1, 2, 3)]
    found = decode({"cell": [nodes]}, get_space("nasbench201"), "joint")
    assert found.to_arch() == "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


def test_joint_adds_up_cells_and_not_only_the_first() -> None:
    hardly, surely = [0.0, 0.55, 0.45], [0.0, 0.0, 1.0]
    second = node([[0.1, 0.3, 0.6]] * 3, [1.0, 0.0, 0.0])
    cells = {"normal": [[node([row, row], [1.0]), second] for row in (hardly, surely)]}
    assert decode(cells, SPACE, "joint").cells["normal"].edges[0].op == "sep_conv_3x3"


@pytest.mark.parametrize("weighted", [True, False])
def test_a_joint_table_is_the_mean_product_over_samples(weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    a, weight = torch.rand(5, 3, 4, generator=generator), torch.rand(5, generator=generator)
    table = joint_table(a, [0, 2], weight if weighted else None)
    assert table.shape == (4, 4)
    for j, k in itertools.product(range(4), repeat=2):
        terms = [float(a[z, 0, j] * a[z, 2, k] * (weight[z] if weighted else 1)) for z in range(5)]
        assert float(table[j, k]) == pytest.approx(sum(terms) / 5, rel=1e-5)


def test_deviations_are_over_the_samples_of_a_cell_for_operations_and_for_pairs() -> None:
    one, other = node([[0.2, 0.8], [0.5, 0.5]], [0.1, 0.9]), node([[0.4, 0.6], [0.5, 0.5]], [0.3, 0.7])
    still = node([[0.2, 0.8], [0.5, 0.5]], [0.1, 0.9])
    (found,) = deviations({"normal": [[together(one, other)], [together(still, still)]]})["normal"]
    assert torch.allclose(found.a, torch.tensor([[0.05, 0.05], [0.0, 0.0]], dtype=torch.float64))  # half of 0.1, of 0
    assert found.pi is not None
    assert torch.allclose(found.pi, torch.tensor([0.05, 0.05], dtype=torch.float64))


def test_the_weights_of_a_node_say_names_and_six_digits() -> None:
    specs = [EdgeSpec(0, 3, OPS[1:]), EdgeSpec(1, 3, OPS[1:]), EdgeSpec(2, 3, OPS[1:])]
    a = torch.tensor([[1 / 3, 2 / 3], [0.25, 0.75], [1.0, 0.0]], dtype=torch.float64)
    value = NodeWeights(a, torch.tensor([0.5, 1 / 3, 1 / 6])).to_value(specs)
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
    assert NodeWeights(a, None).to_value(specs)["pairs"] == []


def test_an_arm_is_asked_as_in_evaluation_and_left_as_it_was() -> None:
    supernet, arm = Supernet(TOY, 2, 1, num_classes=2), Stub([torch.rand(1, 1, 1, 1, 3)] * 6)
    for mode_ in (True, False):
        arm.train(mode_)
        sample_weights(supernet, arm, [torch.randn(2, 3, 4, 4)])
        assert arm.training is mode_
    with pytest.raises(ValueError, match="at least one batch"):
        sample_weights(supernet, arm, [])


@given(st.integers(1, 40), st.integers(0, 1000))
def test_all_rules_agree_on_samples_that_agree(samples: int, seed: int) -> None:
    torch.manual_seed(seed)
    a, pi = torch.rand(1, 3, 3), torch.softmax(torch.rand(1, 3), -1)
    a[..., 0] = 0
    nodes = [FIRST, NodeWeights(a.expand(samples, -1, -1), pi.expand(samples, -1))]
    rules: list[Rule] = ["mean", "vote", "mode"]
    assert len({decode(cell(*nodes), SPACE, rule).hash for rule in rules}) == 1


@given(st.integers(0, 1000))
def test_all_rules_keep_the_strongest_edges_of_weights_that_are_the_same_for_all_samples(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    space = Space("toy", "darts", 2, {"normal": complete_edges(2, 3, OPS)}, (2, 3, 4), keep=2)
    nodes = [NodeWeights(torch.softmax(torch.rand(1, n, 3, generator=generator), -1), None) for n in (2, 3, 4)]
    rules: list[Rule] = ["mean", "vote", "mode", "joint"]
    assert len({decode(cell(*nodes), space, rule).hash for rule in rules}) == 1


def test_the_mode_is_where_most_samples_are() -> None:
    generator = torch.Generator().manual_seed(0)
    crowd, tail = 0.3 + 0.01 * torch.randn(70, generator=generator), 0.9 + 0.01 * torch.randn(30, generator=generator)
    assert mode(torch.cat([tail, crowd])[:, None]).item() == pytest.approx(0.3, abs=0.02)


def half_sample_mode(values: list[float]) -> float:
    """Bickel and Fruehwirth's rule, written out for one list."""
    values = sorted(values)
    if len(values) <= 2:
        return sum(values) / len(values)
    if len(values) == 3:
        low = values[1] - values[0] <= values[2] - values[1]
        return sum(values[:2] if low else values[1:]) / 2
    half = -(-len(values) // 2)
    start = min(range(len(values) - half + 1), key=lambda i: values[i + half - 1] - values[i])
    return half_sample_mode(values[start : start + half])


@given(st.lists(st.integers(0, 50).map(float), min_size=1, max_size=12))
def test_the_mode_is_that_of_the_half_sample_rule_entry_by_entry(values: list[float]) -> None:
    columns = torch.tensor([values, [-value for value in values]]).T[:, None, :]  # [N, 1, 2]
    expected = [half_sample_mode(values), half_sample_mode([-value for value in values])]
    assert mode(columns).shape == (1, 2)
    assert mode(columns).flatten().tolist() == pytest.approx(expected)


def test_agreement_is_the_share_of_equal_edges() -> None:
    one = decode(cell(FIRST, node([[0.1, 0.3, 0.6]] * 3, [1.0, 0.0, 0.0])), SPACE)
    other = decode(cell(FIRST, node([[0.1, 0.3, 0.6]] * 3, [0.0, 1.0, 0.0])), SPACE)
    assert agreement([one, one]) == 1
    assert agreement([one, other]) == pytest.approx(3 / 4)
    assert agreement([one]) == 1


def test_weights_of_other_candidates_are_refused_and_not_read_by_the_wrong_names() -> None:
    searched = SPACE.without(["none"])
    samples = cell(node([[0.6, 0.4], [0.3, 0.7]], [1.0]), node([[0.6, 0.4], [0.3, 0.7], [0.5, 0.5]], [0.2, 0.5, 0.3]))
    assert decode(samples, searched).cells["normal"].edges[0].op == "skip_connect"
    for use in (decode, lambda samples, space: operation_shares(distributions(samples), space, 1), weight_rows):
        with pytest.raises(
            ParamsError, match=r"weights of node 2 are \[2, 2\] where the space has \[2, 3\]: .*search.exclude"
        ):
            use(samples, SPACE)
    with pytest.raises(ParamsError, match=r"search.exclude"):
        distributions(samples)["normal"][0].to_value(SPACE.nodes("normal")[0])
