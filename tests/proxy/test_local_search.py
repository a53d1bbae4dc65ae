"""A decoded cell is changed edge by edge where proxy trainings say that it helps."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch

from midas.decode.decode import NodeWeights
from midas.genotype import Genotype
from midas.proxy.config import ProxyConfig
from midas.proxy.local_search import (
    LocalSearch,
    ProxyResult,
    Shares,
    TrainCells,
    log_share,
    neighbours,
    op_shares,
)
from midas.proxy.training import ProxyScore
from midas.spaces import get_space
from midas.spaces.space import Space

SPACE = get_space("nasbench201").without(["none"])
START = Genotype.from_arch(
    "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_1x1~1|"
    "+|nor_conv_1x1~0|nor_conv_1x1~1|nor_conv_1x1~2|"
)
BEST = Genotype.from_arch(
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_1x1~1|"
    "+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
)
CONFIG = ProxyConfig(trainings=16)


def common_edges(genotype: Genotype) -> int:
    """How many edges a cell has in common with the best one."""
    return len(set(genotype.cells["cell"].edges) & set(BEST.cells["cell"].edges))


def score(genotype: Genotype) -> ProxyScore:
    """A loss that falls by 0.1 for each edge in common with the best cell."""
    return ProxyScore(2 - 0.1 * common_edges(genotype), common_edges(genotype) / 10)


def train(cells: Sequence[Genotype]) -> list[ProxyScore]:
    return [score(cell) for cell in cells]


def train_alike(cells: Sequence[Genotype]) -> list[ProxyScore]:
    return [ProxyScore(1.0, 0.5) for _ in cells]


def search(
    config: ProxyConfig = CONFIG,
    train: TrainCells = train,
    train_longer: TrainCells | None = None,
    shares: Shares | None = None,
    space: Space = SPACE,
    size_gap: Callable[[Genotype], float] = lambda cell: 0.0,
    start: Genotype = START,
) -> list[ProxyResult]:
    """A local search with trainings that are made up."""
    first = [start, *neighbours(start, space)]
    return LocalSearch(space, config, shares or {}, size_gap).run(first, train, train_longer)


def ops(genotype: Genotype, kind: str = "cell") -> list[str]:
    return [edge.op for edge in genotype.cells[kind].edges]


def test_neighbours_differ_in_the_operation_of_one_edge() -> None:
    cells = neighbours(START, SPACE)
    changes = [set(cell.cells["cell"].edges) - set(START.cells["cell"].edges) for cell in cells]
    assert [len(change) for change in changes] == [1] * 18
    assert len({cell.hash for cell in cells}) == 18
    changed_ops = {edge.op for change in changes for edge in change}
    assert changed_ops == {"skip_connect", "nor_conv_3x3", "avg_pool_3x3"}


def darts_cell(edges: list[tuple[str, int]]) -> Genotype:
    concat = [2, 3, 4, 5]
    lists = {"normal": edges, "normal_concat": concat, "reduce": edges, "reduce_concat": concat}
    return Genotype.from_lists("darts", **lists)


def test_neighbours_of_a_darts_cell_keep_its_edges_and_never_bring_none() -> None:
    edges = [("none", 0), ("sep_conv_3x3", 1)] + [("skip_connect", 0), ("sep_conv_3x3", 1)] * 3
    cells = neighbours(darts_cell(edges), get_space("darts"))
    assert len(cells) == 2 * (7 + 7 * 6)  # the edge with none has seven other operations
    places = [{(e.source, e.target) for e in cell.cells["normal"].edges} for cell in cells]
    assert all(edges_of_cell == places[0] for edges_of_cell in places)
    assert all(sum(ops(cell, k).count("none") for k in cell.cells) <= 2 for cell in cells)


def test_every_edge_can_be_mended_in_few_trainings() -> None:
    rounds = list[list[Genotype]]()

    def recorded(cells: Sequence[Genotype]) -> list[ProxyScore]:
        rounds.append(list(cells))
        return train(cells)

    results = search(train=recorded)
    assert rounds[0] == [START, *neighbours(START, SPACE)]
    assert [len(cells) for cells in rounds[1:]] == [2] * 8
    later = [number for number in range(1, 9) for _ in range(2)]
    assert [result.round for result in results[:-1]] == [0] * 19 + later
    assert len({result.genotype.hash for result in results[:-1]}) == 19 + 16
    kept = results[-1]
    assert kept.kept
    assert (kept.genotype, kept.loss, kept.accuracy) == (BEST, *score(BEST))
    assert kept.predicted_loss == pytest.approx(1.4, abs=0.1)


def test_after_the_neighbours_come_those_of_the_best_of_them() -> None:
    results = search(ProxyConfig(trainings=2))
    first, second = results[19:21]
    assert (first.round, second.round) == (1, 1)
    expected = common_edges(START) + 2
    assert common_edges(first.genotype) == common_edges(second.genotype) == expected
    assert results[-1].genotype in (first.genotype, second.genotype)


def test_an_odd_number_of_trainings_is_kept_to() -> None:
    assert [result.round for result in search(ProxyConfig(trainings=3))[19:-1]] == [1, 1, 2]


def test_a_lucky_training_alone_does_not_decide() -> None:
    """One neighbour is 0.15 nats better, while all other trainings say that nothing matters."""
    lucky = neighbours(START, SPACE)[0]

    def noisy(cells: Sequence[Genotype]) -> list[ProxyScore]:
        seeds = [int(cell.hash[:8], 16) for cell in cells]
        draws = [
            float(torch.rand((), generator=torch.Generator().manual_seed(seed))) for seed in seeds
        ]
        return [
            ProxyScore(1 - 0.15 * (cell == lucky) + 0.1 * draw, 0.5)
            for cell, draw in zip(cells, draws, strict=True)
        ]

    results = search(train=noisy)
    result = next(result for result in results if result.genotype == lucky)
    assert result.predicted_loss > result.loss + 0.05
    assert results[-1].genotype != lucky


def test_one_operation_an_edge_leaves_nothing_to_compare() -> None:
    space = SPACE.without(["skip_connect", "nor_conv_3x3", "avg_pool_3x3"])
    results = search(space=space)
    assert [(r.genotype, r.kept) for r in results] == [(START, False), (START, True)]


def test_none_may_come_where_a_space_keeps_all_edges() -> None:
    def sparse(cells: Sequence[Genotype]) -> list[ProxyScore]:
        return [ProxyScore(2 - 0.1 * ops(cell).count("none"), 0.5) for cell in cells]

    results = search(ProxyConfig(trainings=40), sparse, space=get_space("nasbench201"))
    assert set(ops(results[-1].genotype)) == {"none"}


def test_a_darts_cell_is_changed_with_the_shares_of_its_own_edges() -> None:
    space = get_space("darts").without(["none"])
    start = darts_cell([("sep_conv_3x3", 0), ("sep_conv_3x3", 1)] * 4)
    nodes = [NodeWeights(torch.full((1, n, 7), 1 / 7), None) for n in (2, 3, 4, 5)]
    shares = op_shares({kind: [nodes] for kind in start.cells}, space, "mean", images=64)

    def skips(cells: Sequence[Genotype]) -> list[ProxyScore]:
        counts = [ops(cell, "reduce").count("skip_connect") for cell in cells]
        return [ProxyScore(2 - 0.1 * count, 0.5) for count in counts]

    kept = search(train=skips, shares=shares, space=space, start=start)[-1].genotype
    assert ops(kept, "reduce").count("skip_connect") >= 6
    places = [[(e.source, e.target) for e in g.cells["reduce"].edges] for g in (kept, start)]
    assert places[0] == places[1]


def test_without_more_trainings_the_best_of_the_neighbours_is_kept() -> None:
    results = search(ProxyConfig(trainings=0))
    assert len(results) == 19 + 1
    assert common_edges(results[-1].genotype) == common_edges(START) + 1


def test_in_the_finals_the_longer_trainings_decide_and_the_search_does_not() -> None:
    """The short trainings and the search put the best cell first, the finals by a hair another."""
    finalists = list[Genotype]()

    def late(cells: Sequence[Genotype]) -> list[ProxyScore]:
        finalists.extend(cells)
        return [ProxyScore(0.5 - 0.001 * (cell == cells[-1]), 0.7) for cell in cells]

    best_ops = {(edge.source, edge.target): edge.op for edge in BEST.cells["cell"].edges}
    shares = {
        key: 0.6 if best_ops[key[1:3]] == key[3] else 0.4 / 3
        for key in shares_of("nor_conv_1x1", 0.6)
    }
    without = search(shares=shares)
    config = CONFIG.model_copy(update={"finalists": 4})
    results = search(config, train_longer=late, shares=shares)
    assert results[: 19 + 16] == without[:-1]
    assert [result.final for result in results] == [False] * (19 + 16) + [True] * 5
    assert [result.round for result in results[-6:]] == [8, *[9] * 5]
    assert [result.genotype for result in results[-5:-1]] == finalists
    assert finalists[0] == without[-1].genotype == BEST
    assert results[-1] == results[-2]._replace(kept=True)
    assert results[-1].predicted_loss == results[-1].loss == pytest.approx(0.499)
    first, last = (CONFIG.temperature * log_share(finalists[k], shares) for k in (0, -1))
    assert first - last > 0.001  # with the shares the first would have won


def count_gap(cell: Genotype) -> float:
    """As if each 3x3 convolution made a network larger by a factor of e."""
    return 6.0 - ops(cell).count("nor_conv_3x3")


def test_of_cells_that_train_alike_the_larger_counts_as_better() -> None:
    config = CONFIG.model_copy(update={"size_prior": 0.3})
    results = search(config, train_alike, size_gap=count_gap)
    assert set(ops(results[-1].genotype)) == {"nor_conv_3x3"}
    assert results[-1].objective == results[-1].predicted_loss == 1.0
    assert results[0].objective == pytest.approx(1.0 + 0.3 * 6)
    assert search(train=train_alike, size_gap=count_gap)[-1].genotype == START


@pytest.mark.parametrize(("size_prior", "larger"), [(0.09, False), (0.11, True)])
def test_in_the_finals_a_smaller_network_must_gain_what_its_size_is_worth(
    size_prior: float, larger: bool
) -> None:
    """Of two finalists, one operation apart, the smaller has a loss that is 0.1 nats lower."""

    def late(cells: Sequence[Genotype]) -> list[ProxyScore]:
        return [ProxyScore(0.2 + 0.1 * ops(cell).count("nor_conv_3x3"), 0.5) for cell in cells]

    config = ProxyConfig(trainings=0, finalists=19, size_prior=size_prior)
    results = search(config, train_longer=late, size_gap=count_gap)
    kept = results[-1]
    assert (ops(kept.genotype).count("nor_conv_3x3") == 1) is larger
    assert kept.objective == min(result.objective for result in results if result.final)
    expected = kept.loss + size_prior * count_gap(kept.genotype)
    assert kept.objective == pytest.approx(expected)


def test_more_finalists_than_cells_are_all_cells() -> None:
    results = search(ProxyConfig(trainings=0, finalists=50), train_longer=train)
    assert len(results) == 19 + 19 + 1


def shares_of(favourite: str, share: float) -> Shares:
    """Shares where one operation is ahead on every edge, and the other three are equal."""
    names = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    return {
        ("cell", edge.source, edge.target, op): share if op == favourite else (1 - share) / 3
        for edge in START.cells["cell"].edges
        for op in names
    }


@pytest.mark.parametrize(("share", "changes"), [(0.6, True), (0.97, False)])
def test_a_change_must_gain_more_than_the_search_speaks_against_it(
    share: float, changes: bool
) -> None:
    """A right change gains 0.1 nats, as much as a factor of exp(2.5) in the shares."""
    against = math.log(share / ((1 - share) / 3))
    assert (against < 2.5) is changes
    config = CONFIG.model_copy(update={"temperature": 0.1 / 2.5})
    kept = search(config, shares=shares_of("nor_conv_1x1", share))[-1].genotype
    assert kept == (BEST if changes else START)


def test_where_proxy_trainings_are_alike_the_search_decides() -> None:
    kept = search(train=train_alike, shares=shares_of("nor_conv_3x3", 0.4))[-1].genotype
    assert set(ops(kept)) == {"nor_conv_3x3"}
    assert search(train=train_alike)[-1].genotype == START


def test_a_list_of_cells_is_compared_without_any_search() -> None:
    cells = neighbours(START, SPACE)[:5]
    config = CONFIG.model_copy(update={"trainings": 0, "finalists": 0})
    results = LocalSearch(SPACE, config, {}).run(cells, train)
    assert [result.genotype for result in results[:-1]] == cells
    assert results[-1].genotype in cells
