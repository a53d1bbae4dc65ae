"""Each method does what its paper says, and all of them fit the same search."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from midas.data.prepared import DataMeta, Split
from midas.decode.config import DecodeConfig
from midas.genotype import CellGenotype
from midas.search.config import SearchConfig
from midas.search.edge_pairs import pair_marginals
from midas.search.methods import FixedCell, NodeSpec, RandomMethod, random_genotype
from midas.search.methods.darts import (
    BetaDartsMethod,
    DartsMethod,
    DartsPairsMethod,
    DrnasMethod,
    GdasMethod,
)
from midas.search.run import run_search
from midas.spaces import get_space
from midas.spaces.space import EdgeSpec
from tests.decode.decoding import decode_search, monitored_search

METHODS = ("midas", "darts", "darts-pairs", "drnas", "gdas", "beta-darts", "random")
Data = tuple[Split, Split, DataMeta]
OPS = ("skip_connect", "sep_conv_3x3")
NODE = NodeSpec(0, "normal", 4, 0, tuple(EdgeSpec(i, 3, OPS) for i in range(3)))
UNEVEN = NodeSpec(0, "normal", 4, 0, (EdgeSpec(0, 2, (*OPS, "max_pool_3x3")), EdgeSpec(1, 2, OPS)))
OUTPUTS = [torch.randn(2, 4, 4, 4) for _ in range(6)]


def alphas(method: DartsMethod, node_spec: NodeSpec = NODE) -> torch.nn.Parameter:
    return method.alphas[node_spec.shared_name]


@pytest.mark.parametrize("space", ["darts", "rdarts-s1", "rdarts-s3", "nasbench201"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_searches_every_space_and_finds_a_cell_of_it(
    method: str, space: str, digits: Data
) -> None:
    train, _, meta = digits
    config = SearchConfig(
        method=method,
        exclude=[],
        channels=2,
        cells=1 if space == "nasbench201" else 3,
        epochs=1,
        images=32,
        batch_size=16,
        monitor_images=16,
        random_cells=2,
    )
    result = monitored_search(get_space(space), config, train, meta)
    decoding = DecodeConfig(samples=16, batch_size=16)
    genotype, entry = decode_search(get_space(space), result, config, decoding, train, meta)
    get_space(space).check(genotype)
    assert 0 <= entry["subnetwork_accuracy"] <= 1


def test_pairs_of_static_parameters_are_weighted_by_the_pair_rule() -> None:
    method = DartsPairsMethod([NODE])
    with torch.no_grad():
        alphas(method).copy_(torch.randn(3, 2))
    weights = method(NODE, [], OUTPUTS)
    pair_probs, edge_probs = pair_marginals(torch.logsumexp(alphas(method), -1))
    op_weights = torch.softmax(alphas(method), -1)
    assert torch.allclose(weights.op_weights[0, 0, 0], op_weights)
    assert torch.allclose(weights.pair_probs[0, 0, 0], pair_probs)
    assert torch.allclose(weights.edge_probs[0, 0, 0], edge_probs)
    assert torch.allclose(weights.mixing[0, 0, 0], (edge_probs[:, None] * op_weights).flatten())
    assert weights.mixing.sum().item() == pytest.approx(2)


@pytest.mark.parametrize("kind", [DartsMethod, DartsPairsMethod, BetaDartsMethod, DrnasMethod])
def test_an_edge_of_fewer_candidates_has_weights_for_its_own_alone(kind: type[DartsMethod]) -> None:
    torch.manual_seed(0)
    method = kind([UNEVEN])
    method.begin_pass()
    weights = method(UNEVEN, [], OUTPUTS[:5])
    assert weights.op_weights.shape == (1, 1, 1, 2, 3)
    assert weights.op_weights[0, 0, 0, 1, 2] == 0
    assert torch.allclose(weights.op_weights.sum(-1), torch.ones(1, 1, 1, 2))
    assert weights.mixing.shape == (1, 1, 1, 5)
    weights.mixing.sin().sum().backward()
    gradient = alphas(method, UNEVEN).grad
    assert gradient is not None
    assert torch.isfinite(gradient).all()
    assert gradient[1, 2] == 0


def test_beta_darts_adds_the_mean_log_sum_exp_with_a_growing_weight() -> None:
    method = BetaDartsMethod([NODE])
    assert method.penalty().item() == 0
    method.set_progress(3, 6)
    mean = torch.logsumexp(alphas(method), -1).mean().item()
    assert method.penalty().item() == pytest.approx(25 * mean, rel=1e-5)


def test_drnas_draws_anew_in_each_pass_and_is_decoded_by_its_mean() -> None:
    torch.manual_seed(0)
    method = DrnasMethod([NODE])
    with torch.no_grad():
        alphas(method).copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-0.5, 0.5]]))
    method.eval()
    method.begin_pass()
    mean = method(NODE, [], OUTPUTS).op_weights[0, 0, 0]
    concentration = F.elu(alphas(method)) + 1
    assert torch.allclose(mean, concentration / concentration.sum(-1, keepdim=True))
    method.train()
    draws = []
    for _ in range(2000):
        method.begin_pass()
        first = method(NODE, [], OUTPUTS).op_weights
        second = method(NODE, [], OUTPUTS).op_weights
        assert torch.equal(first, second)  # the cells of a type share a pass's draw
        draws.append(first[0, 0, 0].detach())
    assert torch.allclose(torch.stack(draws).mean(0), mean, atol=0.02)


def test_drnas_keeps_its_concentrations_near_one() -> None:
    method = DrnasMethod([NODE])
    concentration = F.elu(alphas(method)) + 1
    expected = 1e-3 * (concentration - 1).square().sum().item()
    assert method.penalty().item() == pytest.approx(expected)
    assert not method.decays


def test_gdas_is_hottest_in_the_first_epoch_and_coldest_in_the_last() -> None:
    method = GdasMethod([NODE])
    for epochs in (2, 6, 100):
        method.set_progress(0, epochs)
        assert method.tau == 10
        method.set_progress(epochs - 1, epochs)
        assert method.tau == pytest.approx(0.1)
    method.set_progress(0, 1)
    assert method.tau == 10


def test_gdas_computes_one_operation_an_edge_and_passes_the_relaxed_gradient() -> None:
    torch.manual_seed(0)
    method = GdasMethod([NODE])
    method.set_progress(3, 7)
    assert method.tau == pytest.approx(5.05)
    method.begin_pass()
    assert [len(active) for active in method.active_ops(NODE)] == [1, 1, 1]
    weights = method(NODE, [], OUTPUTS[:3])
    assert torch.equal(weights.mixing.detach(), torch.ones(1, 1, 1, 3))
    (gradient,) = torch.autograd.grad(weights.mixing.sum(), [alphas(method)])
    assert gradient.abs().sum() > 0


def test_gdas_draws_an_operation_with_its_softmax() -> None:
    torch.manual_seed(0)
    method = GdasMethod([NODE])
    with torch.no_grad():
        alphas(method).copy_(torch.tensor([[1.0, 0.0]] * 3))
    counts = torch.zeros(2)
    for _ in range(2000):
        method.begin_pass()
        counts[method.active_ops(NODE)[0][0]] += 1
    expected = torch.softmax(torch.tensor([1.0, 0.0]), 0)
    assert counts[0].item() / 2000 == pytest.approx(expected[0].item(), abs=0.03)


def test_random_search_trains_a_random_cell_in_each_pass_and_learns_no_architecture() -> None:
    method = RandomMethod(get_space("darts"))
    assert not list(method.parameters())
    torch.manual_seed(0)
    cells = set()
    for _ in range(5):
        method.begin_pass()
        cells.add(str(method.ops))
    assert len(cells) == 5


def test_random_cells_are_uniform_over_pairs_and_operations() -> None:
    space = get_space("rdarts-s2")
    generator = torch.Generator().manual_seed(0)
    op_counts = dict.fromkeys(OPS, 0)
    pair_counts: dict[tuple[int, ...], int] = {}
    for _ in range(600):
        genotype = random_genotype(space, generator)
        edges = [edge for edge in genotype.cells["normal"].edges if edge.target == 3]
        pair = tuple(edge.source for edge in edges)
        pair_counts[pair] = pair_counts.get(pair, 0) + 1
        for edge in edges:
            op_counts[edge.op] += 1
    assert set(pair_counts) == {(0, 1), (0, 2), (1, 2)}
    assert min(pair_counts.values()) > 150
    assert abs(op_counts["skip_connect"] - 600) < 100


def test_the_best_of_some_random_cells_is_decoded_and_more_cells_are_no_worse(digits: Data) -> None:
    train, _, meta = digits
    config = SearchConfig(method="random", exclude=[], channels=4, cells=1, epochs=1, images=200)
    space = get_space("nasbench201")
    result = run_search(space, config, train, meta, seed=0)
    decoding = DecodeConfig(samples=100, batch_size=100)
    accuracies = []
    for count in (1, 10):
        more = config.model_copy(update={"random_cells": count})
        _, entry = decode_search(space, result, more, decoding, train, meta)
        accuracies.append(entry["subnetwork_accuracy"])
    assert accuracies[1] >= accuracies[0]


def test_a_fixed_cell_computes_its_edges_and_nothing_else() -> None:
    cell = random_genotype(get_space("darts"), torch.Generator().manual_seed(0)).cells["normal"]
    edges = tuple(EdgeSpec(i, 3, ("skip_connect", "sep_conv_3x3")) for i in range(3))
    node_spec = NodeSpec(0, "normal", 4, 1, edges)
    kept = [edge._replace(op="sep_conv_3x3") for edge in cell.edges]
    method = FixedCell({"normal": CellGenotype(tuple(kept), cell.concat)})
    sources = [edge.source for edge in kept if edge.target == 3]
    assert method.active_ops(node_spec) == [[1] if i in sources else [] for i in range(3)]
    output, weights = method.mixed_op(node_spec, [], OUTPUTS[:2])
    assert torch.equal(output, OUTPUTS[0] + OUTPUTS[1])
    assert weights.edge_probs.flatten().tolist() == [float(i in sources) for i in range(3)]
    assert weights.op_weights[..., 1].flatten().tolist() == weights.edge_probs.flatten().tolist()


def test_no_learning_rate_rises() -> None:
    with pytest.raises(ValueError, match=r"min_learning_rate 0.1 is above learning_rate 0.05"):
        SearchConfig(learning_rate=0.05, min_learning_rate=0.1)


def test_a_warm_up_must_leave_epochs_to_search() -> None:
    with pytest.raises(ValueError, match=r"warmup_epochs \(5\) must be below epochs \(5\)"):
        SearchConfig(epochs=5, warmup_epochs=5)


def collapsing(**changes: Any) -> SearchConfig:
    """A search that can only find skip connections."""
    options: dict[str, Any] = {
        "exclude": ["sep_conv_3x3"],
        "channels": 2,
        "cells": 3,
        "epochs": 3,
        "images": 40,
        "batch_size": 20,
        "monitor_images": 20,
    }
    return SearchConfig(**{**options, **changes})


@pytest.mark.parametrize(
    ("changes", "learned"),
    [({"warmup_epochs": 1}, [False, True, True]), ({"method": "random"}, [False] * 3)],
)
def test_an_architecture_that_has_not_learned_has_no_accuracy(
    changes: dict[str, Any], learned: list[bool], digits: Data
) -> None:
    train, _, meta = digits
    result = monitored_search(get_space("rdarts-s2"), collapsing(**changes), train, meta)
    assert [row["arch_accuracy"] is not None for row in result.history] == learned
    assert [row["arch_loss"] is not None for row in result.history] == learned
    assert result.history[-1]["step"] == len(learned)
