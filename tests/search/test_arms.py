"""Each arm does what its paper says, and all fit the same engine."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from midas.data.prepared import DataMeta, Split
from midas.genotype import CellGenotype, Edge, Genotype
from midas.search.arms import NodeSite, random_genotype
from midas.search.arms.discrete import DiscreteArm, RandomArm
from midas.search.arms.drnas import DrnasArm
from midas.search.arms.gdas import GdasArm
from midas.search.arms.static import BetaDartsArm, DartsArm, DartsPairsArm
from midas.search.bilevel import build_search, run_search
from midas.search.config import DecodeConfig, RefineConfig, SearchConfig
from midas.search.engine import Engine
from midas.search.refine import ShortTraining
from midas.search.selection import decode_seed
from midas.search.store import save_history, steps_of
from midas.search.topology import pair_marginals
from midas.spaces import get_space
from midas.spaces.space import EdgeSpec

ARMS = ("midas", "darts", "darts-pairs", "drnas", "gdas", "beta-darts", "random")
Data = tuple[Split, Split, DataMeta]
SITE = NodeSite(0, "normal", 4, 0, tuple(EdgeSpec(i, 3, ("skip_connect", "sep_conv_3x3")) for i in range(3)))
MAPS = [torch.randn(2, 4, 4, 4) for _ in range(6)]


def alphas(arm: DartsArm) -> torch.nn.Parameter:
    return arm.alphas[SITE.shared_name]


@pytest.mark.parametrize("space", ["darts", "rdarts-s1", "rdarts-s3", "nasbench201"])
@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_searches_every_space_and_yields_a_cell_of_it(arm: str, space: str, digits: Data) -> None:
    train, _, meta = digits
    options: dict[str, Any] = {"cells": 1 if space == "nasbench201" else 3, "images": 32, "monitor_images": 16}
    config = SearchConfig(arm=arm, exclude=[], channels=2, epochs=1, batch_size=16, random_cells=2, **options)
    result = run_search(get_space(space), config, train, meta, seed=0)
    how = DecodeConfig(samples=16, batch_size=16)
    found = decode_seed(0, get_space(space), result.supernet, result.arm, config, how, train, meta)
    get_space(space).check(found.genotype)
    assert 0 <= found.subnetwork_accuracy <= 1


def test_pairs_of_static_parameters_are_weighted_by_the_pair_rule() -> None:
    arm = DartsPairsArm([SITE])
    with torch.no_grad():
        alphas(arm).copy_(torch.randn(3, 2))
    choice = arm(SITE, [], MAPS)
    expected = pair_marginals(torch.logsumexp(alphas(arm), -1))[1][:, None] * torch.softmax(alphas(arm), -1)
    assert torch.allclose(choice.weights[0, 0, 0], expected.flatten())
    assert choice.weights.sum().item() == pytest.approx(2)


def test_beta_darts_adds_the_mean_log_sum_exp_with_a_growing_weight() -> None:
    arm = BetaDartsArm([SITE])
    assert arm.penalty().item() == 0
    arm.set_progress(3, 6)
    assert arm.penalty().item() == pytest.approx(25 * torch.logsumexp(alphas(arm), -1).mean().item(), rel=1e-5)


def test_drnas_draws_anew_in_each_pass_and_is_decoded_by_its_mean() -> None:
    torch.manual_seed(0)
    arm = DrnasArm([SITE])
    with torch.no_grad():
        alphas(arm).copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-0.5, 0.5]]))
    arm.eval()
    arm.begin_pass()
    mean = arm(SITE, [], MAPS).a[0, 0, 0]
    concentration = F.elu(alphas(arm)) + 1
    assert torch.allclose(mean, concentration / concentration.sum(-1, keepdim=True))
    arm.train()
    draws = []
    for _ in range(2000):
        arm.begin_pass()
        first, second = arm(SITE, [], MAPS).a, arm(SITE, [], MAPS).a
        assert torch.equal(first, second)  # the cells of a type share a pass's draw
        draws.append(first[0, 0, 0].detach())
    assert torch.allclose(torch.stack(draws).mean(0), mean, atol=0.02)


def test_gdas_is_hottest_in_the_first_epoch_and_coldest_in_the_last() -> None:
    arm = GdasArm([SITE])
    for epochs in (2, 6, 100):
        arm.set_progress(0, epochs)
        assert arm.temperature == 10
        arm.set_progress(epochs - 1, epochs)
        assert arm.temperature == pytest.approx(0.1)
    arm.set_progress(0, 1)
    assert arm.temperature == 10


def test_gdas_computes_one_operation_an_edge_and_passes_the_relaxed_gradient() -> None:
    torch.manual_seed(0)
    arm = GdasArm([SITE])
    arm.set_progress(3, 7)
    assert arm.temperature == pytest.approx(5.05)
    arm.begin_pass()
    wanted = arm.wanted(SITE)
    assert [len(chosen) for chosen in wanted] == [1, 1, 1]
    choice = arm(SITE, [], MAPS[:3])
    assert torch.equal(choice.weights.detach(), torch.ones(1, 1, 1, 3))
    (gradient,) = torch.autograd.grad(choice.weights.sum(), [alphas(arm)])
    assert gradient.abs().sum() > 0
    counts = torch.zeros(2)
    with torch.no_grad():
        alphas(arm).copy_(torch.tensor([[1.0, 0.0]] * 3))
    for _ in range(2000):
        arm.begin_pass()
        counts[arm.wanted(SITE)[0][0]] += 1
    assert counts[0].item() / 2000 == pytest.approx(torch.softmax(torch.tensor([1.0, 0.0]), 0)[0].item(), abs=0.03)


def test_random_search_trains_a_random_cell_in_each_pass_and_learns_no_architecture() -> None:
    arm = RandomArm(get_space("darts"))
    assert not list(arm.parameters())
    torch.manual_seed(0)
    cells = set()
    for _ in range(5):
        arm.begin_pass()
        cells.add(str(arm.kept))
    assert len(cells) == 5


def test_random_cells_are_uniform_over_pairs_and_operations() -> None:
    space, generator = get_space("rdarts-s2"), torch.Generator().manual_seed(0)
    counts = dict.fromkeys(("skip_connect", "sep_conv_3x3"), 0)
    pairs: dict[tuple[int, ...], int] = {}
    for _ in range(600):
        edges = [e for e in random_genotype(space, generator).cells["normal"].edges if e.target == 3]
        pairs[tuple(e.source for e in edges)] = pairs.get(tuple(e.source for e in edges), 0) + 1
        for edge in edges:
            counts[edge.op] += 1
    assert set(pairs) == {(0, 1), (0, 2), (1, 2)}
    assert min(pairs.values()) > 150
    assert abs(counts["skip_connect"] - 600) < 100


def test_the_best_of_some_random_cells_is_decoded_and_more_cells_are_no_worse(digits: Data) -> None:
    train, _, meta = digits
    config = SearchConfig(arm="random", exclude=[], channels=4, cells=1, epochs=1, images=200, monitor_images=16)
    result = run_search(get_space("nasbench201"), config, train, meta, seed=0)
    accuracies = []
    for count in (1, 10):
        more = config.model_copy(update={"random_cells": count})
        how = DecodeConfig(samples=100, batch_size=100)
        found = decode_seed(0, get_space("nasbench201"), result.supernet, result.arm, more, how, train, meta)
        accuracies.append(found.subnetwork_accuracy)
    assert accuracies[1] >= accuracies[0]


@pytest.mark.parametrize("partial", [2, 4])
@pytest.mark.parametrize("arm", ["midas", "darts", "random"])
def test_partial_channels_keep_the_shape_and_pass_the_rest_by(arm: str, partial: int) -> None:
    config = SearchConfig(arm=arm, channels=8, cells=3, partial=partial)
    supernet, weigh = build_search(get_space("darts"), config, num_classes=3, seed=0)
    whole, _ = build_search(get_space("darts"), config.model_copy(update={"partial": 1}), num_classes=3, seed=0)
    sizes = [sum(p.numel() for p in net.cells.parameters()) for net in (supernet, whole)]
    assert sizes[0] < sizes[1] / partial
    assert supernet(torch.randn(2, 3, 8, 8), weigh)[0].shape == (2, 3)


def test_partial_channels_of_a_node_are_the_sum_of_those_of_its_inputs_shuffled() -> None:
    from midas.search.supernet import SearchCell

    torch.manual_seed(0)
    cell = SearchCell(get_space("rdarts-s2"), 0, "normal", 4, partial=2)
    arm = DartsArm(cell.sites)
    states = [torch.randn(1, 4, 3, 3) for _ in range(2)]
    first = cell(list(states), arm)[0][:, :4]  # the first intermediate node
    assert torch.allclose(first[:, 1::2], states[0][:, 2:] + states[1][:, 2:])


def test_edges_that_a_discrete_cell_does_not_keep_are_not_passed_by_either() -> None:
    from midas.search.supernet import SearchCell

    torch.manual_seed(0)
    space = get_space("darts")
    cell = SearchCell(space, 0, "normal", 4, partial=2)
    edges = tuple(Edge("skip_connect", source, node) for node in range(2, 6) for source in (0, 1))
    states = [torch.randn(1, 4, 3, 3) for _ in range(2)]
    found = cell(list(states), DiscreteArm({"normal": CellGenotype(edges, space.concat)}))[0]
    for node in range(4):  # each is the sum of the cell's inputs, on both halves of its channels
        own = found[:, 4 * node : 4 * node + 4]
        assert torch.allclose(own[:, 1::2], states[0][:, 2:] + states[1][:, 2:])


@pytest.mark.parametrize("arm", ["drnas", "gdas", "random"])
def test_an_arm_that_draws_in_each_pass_has_no_second_order(arm: str) -> None:
    with pytest.raises(ValueError, match="set second_order to false"):
        SearchConfig(arm=arm, second_order=True)


def test_no_learning_rate_rises() -> None:
    with pytest.raises(ValueError, match=r"min_learning_rate 0.1 is above learning_rate 0.05"):
        SearchConfig(learning_rate=0.05, min_learning_rate=0.1)


def test_a_warm_up_must_leave_epochs_to_search() -> None:
    with pytest.raises(ValueError, match=r"warmup_epochs \(5\) must be below epochs \(5\)"):
        SearchConfig(epochs=5, warmup_epochs=5)


def test_channels_that_cannot_be_parted_are_refused() -> None:
    with pytest.raises(ValueError, match=r"partial \(3\) must divide channels \(16\)"):
        SearchConfig(partial=3)


def test_a_search_that_collapses_to_skips_may_end_early(digits: Data) -> None:
    train, _, meta = digits
    options: dict[str, Any] = {"exclude": ["sep_conv_3x3"], "channels": 2, "cells": 3, "epochs": 3, "images": 40}
    config = SearchConfig(**options, batch_size=20, stop_at_skips=2, monitor_images=20)
    result = run_search(get_space("rdarts-s2"), config, train, meta, seed=0)
    assert len(result.history) == 1
    assert result.history[0]["skips"] == 16


@pytest.mark.parametrize(
    ("changed", "learned"), [({"warmup_epochs": 1}, [False, True]), ({"arm": "random"}, [False] * 3)]
)
def test_what_no_architecture_learned_has_no_accuracy_and_is_no_collapse(
    changed: dict[str, Any], learned: list[bool], digits: Data, tmp_path: Path
) -> None:
    train, _, meta = digits
    options: dict[str, Any] = {"exclude": ["sep_conv_3x3"], "channels": 2, "cells": 3, "epochs": 3, "images": 40}
    config = SearchConfig(**{**options, **changed}, batch_size=20, stop_at_skips=2, monitor_images=20)
    result = run_search(get_space("rdarts-s2"), config, train, meta, seed=0)
    assert [row["arch_accuracy"] is not None for row in result.history] == learned
    assert [row["arch_loss"] is not None for row in result.history] == learned
    save_history(tmp_path, result.history)
    assert steps_of(tmp_path) == len(learned), "the steps that were made, not those that were asked for"


def test_noise_is_judged_alike_whatever_was_drawn_since(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short trainings draw before a cell is judged, and a resumed decode, which has their results, does not."""
    train, _, meta = digits
    space = get_space("rdarts-s4")
    config = SearchConfig(arm="darts", channels=2, cells=3, images=80, batch_size=20)
    supernet, arm = build_search(space, config, len(meta.classes), seed=0)
    edges = tuple(Edge("noise", source, node) for node in range(2, 6) for source in (0, 1))
    cell = CellGenotype(edges, space.concat)
    noisy = Genotype("rdarts-s4", {"normal": cell, "reduce": cell})
    found = []
    for draws in (0, 7):

        def after(*_: Any, draws: int = draws) -> list[ShortTraining]:
            torch.rand(draws)
            return [ShortTraining(0, noisy, 1.0, 1.0, 0.5, True)]

        monkeypatch.setattr("midas.search.selection.refined", after)
        how = DecodeConfig(samples=20, batch_size=20, refine=RefineConfig())
        decoded = decode_seed(0, space, supernet, arm, config, how, train, meta)
        found.append((decoded.subnetwork_accuracy, decoded.supernet_accuracy))
    assert found[0] == found[1]


def test_the_passes_of_second_order_see_the_same_noise(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    train, _, meta = digits
    config = SearchConfig(
        arm="darts", second_order=True, channels=2, cells=3, epochs=1, images=40, batch_size=20, monitor_images=20
    )
    seen: list[tuple[Tensor, Tensor]] = []
    loss = Engine._loss

    def watched(engine: Engine, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        seen.append((batch[0], torch.get_rng_state()))
        return loss(engine, batch)

    monkeypatch.setattr(Engine, "_loss", watched)
    run_search(get_space("rdarts-s4"), config, train, meta, seed=0)
    first, _, second, third, _ = (
        seen  # the weights' batch thrice, between them the held-out one; then the weights' step
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(first[1], third[1])


@pytest.mark.parametrize("arm", ARMS)
def test_cells_that_are_computed_again_for_the_backward_pass_give_the_same_gradients(arm: str) -> None:
    images, found = torch.randn(2, 3, 8, 8), []
    for checkpointing in (False, True):
        config = SearchConfig(arm=arm, channels=4, cells=3, patch_size=2, partial=2, checkpointing=checkpointing)
        supernet, weigh = build_search(get_space("darts"), config, num_classes=3, seed=0)
        torch.manual_seed(1)
        logits, _ = supernet(images, weigh)
        parameters = [*supernet.parameters(), *weigh.parameters()]
        found.append([logits, *torch.autograd.grad(logits.square().sum(), parameters, allow_unused=True)])
    for plain, again in zip(*found, strict=True):
        assert (plain is None and again is None) or torch.equal(plain, again)
