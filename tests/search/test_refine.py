"""A decoded cell is changed edge by edge where short trainings say that it helps."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.runs.checkpoint import Checkpoint
from midas.runs.errors import ParamsError
from midas.search import refine as module
from midas.search.brief import ShortTrainings, Verdict
from midas.search.config import RefineConfig, SearchConfig
from midas.search.decode import NodeWeights
from midas.search.refine import Shares, log_share, neighbours, operation_shares, refine, refined
from midas.search.selection import sample_shares
from midas.spaces import get_space

SPACE = get_space("nasbench201").without(["none"])
START = Genotype.from_arch(
    "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|nor_conv_1x1~0|nor_conv_1x1~1|nor_conv_1x1~2|"
)
WANTED = Genotype.from_arch(
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
)
Data = tuple[Split, Split, DataMeta]
HOW = RefineConfig(trainings=16)


def shared(genotype: Genotype) -> int:
    return len(set(genotype.cells["cell"].edges) & set(WANTED.cells["cell"].edges))


def verdict(genotype: Genotype) -> Verdict:
    """A loss that falls by 0.1 for each edge that the wanted cell has too."""
    return Verdict(2 - 0.1 * shared(genotype), shared(genotype) / 10)


def judge(cells: Sequence[Genotype]) -> list[Verdict]:
    return [verdict(cell) for cell in cells]


def test_neighbours_differ_in_the_operation_of_one_edge() -> None:
    cells = neighbours(START, SPACE)
    changes = [set(cell.cells["cell"].edges) - set(START.cells["cell"].edges) for cell in cells]
    assert [len(change) for change in changes] == [1] * 18
    assert len({cell.hash for cell in cells}) == 18
    assert {edge.op for change in changes for edge in change} == {"skip_connect", "nor_conv_3x3", "avg_pool_3x3"}


def test_neighbours_of_a_darts_cell_keep_its_edges_and_never_bring_none() -> None:
    space = get_space("darts")
    edges = [("none", 0), ("sep_conv_3x3", 1)] + [("skip_connect", 0), ("sep_conv_3x3", 1)] * 3
    lists = {"normal": edges, "normal_concat": [2, 3, 4, 5], "reduce": edges, "reduce_concat": [2, 3, 4, 5]}
    cells = neighbours(Genotype.from_lists("darts", **lists), space)
    assert len(cells) == 2 * (7 + 7 * 6)  # the edge with none has seven others
    kept = [{(e.source, e.target) for e in cell.cells["normal"].edges} for cell in cells]
    assert all(one == kept[0] for one in kept)
    assert all(sum(e.op == "none" for c in cell.cells.values() for e in c.edges) <= 2 for cell in cells)


def test_every_edge_can_be_mended_in_few_trainings() -> None:
    seen = list[list[Genotype]]()

    def recorded(cells: Sequence[Genotype]) -> list[Verdict]:
        seen.append(list(cells))
        return judge(cells)

    trainings = refine(START, {}, SPACE, HOW, recorded)
    assert seen[0] == [START, *neighbours(START, SPACE)]
    assert [len(cells) for cells in seen[1:]] == [2] * 8
    assert [training.round for training in trainings[:-1]] == [0] * 19 + [n for n in range(1, 9) for _ in range(2)]
    assert len({training.genotype.hash for training in trainings[:-1]}) == 19 + 16
    assert trainings[-1].kept
    assert trainings[-1][1:4] == (WANTED, pytest.approx(1.4), pytest.approx(0.6))
    assert trainings[-1].expected == pytest.approx(1.4, abs=0.1)


def test_after_the_neighbours_come_those_of_the_best_of_them() -> None:
    trainings = refine(START, {}, SPACE, RefineConfig(trainings=2), judge)
    first, second = trainings[19:21]
    assert (first.round, second.round) == (1, 1)
    assert shared(first.genotype) == shared(second.genotype) == shared(START) + 2
    assert trainings[-1].genotype in (first.genotype, second.genotype)


def test_a_lucky_training_alone_does_not_decide() -> None:
    """One neighbour comes out 0.15 nats better, in a space where everything else says that its operation makes no difference."""
    lucky = neighbours(START, SPACE)[0]

    def noisy(cells: Sequence[Genotype]) -> list[Verdict]:
        draws = [torch.rand((), generator=torch.Generator().manual_seed(int(cell.hash[:8], 16))) for cell in cells]
        return [
            Verdict(1 - 0.15 * (cell == lucky) + 0.1 * float(draw), 0.5)
            for cell, draw in zip(cells, draws, strict=True)
        ]

    trainings = refine(START, {}, SPACE, HOW, noisy)
    one = next(training for training in trainings if training.genotype == lucky)
    assert one.expected > one.loss + 0.05
    assert trainings[-1].genotype != lucky


def test_one_operation_an_edge_leaves_nothing_to_compare() -> None:
    space = SPACE.without(["skip_connect", "nor_conv_3x3", "avg_pool_3x3"])
    trainings = refine(START, {}, space, HOW, judge)
    assert [(one.genotype, one.kept) for one in trainings] == [(START, False), (START, True)]


def test_none_may_come_where_a_space_keeps_all_edges() -> None:
    def sparse(cells: Sequence[Genotype]) -> list[Verdict]:
        return [Verdict(2 - 0.1 * cell.to_arch().count("none"), 0.5) for cell in cells]

    found = refine(START, {}, get_space("nasbench201"), RefineConfig(trainings=40), sparse)[-1].genotype
    assert {edge.op for edge in found.cells["cell"].edges} == {"none"}


def test_a_darts_cell_is_refined_with_the_shares_of_its_own_edges() -> None:
    space = get_space("darts").without(["none"])
    edges = [("sep_conv_3x3", 0), ("sep_conv_3x3", 1)] * 4
    lists = {"normal": edges, "normal_concat": [2, 3, 4, 5], "reduce": edges, "reduce_concat": [2, 3, 4, 5]}
    start = Genotype.from_lists("darts", **lists)
    nodes = {kind: [NodeWeights(torch.full((n, 7), 1 / 7), None) for n in (2, 3, 4, 5)] for kind in start.cells}

    def skips(cells: Sequence[Genotype]) -> list[Verdict]:
        counts = [sum(e.op == "skip_connect" for e in cell.cells["reduce"].edges) for cell in cells]
        return [Verdict(2 - 0.1 * number, 0.5) for number in counts]

    shares = operation_shares(nodes, space, images=64)
    found = refine(start, shares, space, RefineConfig(trainings=16), skips)[-1].genotype
    assert sum(edge.op == "skip_connect" for edge in found.cells["reduce"].edges) >= 6
    assert [(e.source, e.target) for e in found.cells["reduce"].edges] == [
        (e.source, e.target) for e in start.cells["reduce"].edges
    ]


def test_without_more_trainings_the_best_of_the_neighbours_is_kept() -> None:
    trainings = refine(START, {}, SPACE, RefineConfig(trainings=0), judge)
    assert len(trainings) == 19 + 1
    assert shared(trainings[-1].genotype) == shared(START) + 1


def test_the_finals_decide_between_the_best_and_there_the_search_has_no_say() -> None:
    """The short trainings and the search put the wanted cell first, the finals by a hair another."""
    seen = list[Genotype]()

    def late(cells: Sequence[Genotype]) -> list[Verdict]:
        seen.extend(cells)
        return [Verdict(0.5 - 0.001 * (cell == cells[-1]), 0.7) for cell in cells]

    how = HOW.model_copy(update={"finalists": 4})
    wanted = {("cell", edge.source, edge.target): edge.op for edge in WANTED.cells["cell"].edges}
    shares = {key: 0.6 if wanted[key[:3]] == key[3] else 0.4 / 3 for key in shares_of("nor_conv_1x1", 0.6)}
    without = refine(START, shares, SPACE, HOW, judge)
    trainings = refine(START, shares, SPACE, how, judge, late)
    assert trainings[: 19 + 16] == without[:-1]
    assert [one.final for one in trainings] == [False] * (19 + 16) + [True] * 5
    assert [one.round for one in trainings[-6:]] == [8, *[9] * 5]
    assert [one.genotype for one in trainings[-5:-1]] == seen
    assert seen[0] == without[-1].genotype == WANTED
    assert trainings[-1] == trainings[-2]._replace(kept=True)
    assert trainings[-1].expected == trainings[-1].loss == pytest.approx(0.499)
    said = [HOW.temperature * log_share(cell, shares) for cell in (seen[0], seen[-1])]
    assert said[0] - said[1] > 0.001  # with it the first would have won


def convolutions(cell: Genotype) -> float:
    """As if each 3x3 convolution made a network larger by a factor of e."""
    return 6.0 - cell.to_arch().count("nor_conv_3x3")


def test_of_cells_that_train_alike_the_larger_counts_as_better() -> None:
    def alike(cells: Sequence[Genotype]) -> list[Verdict]:
        return [Verdict(1.0, 0.5) for _ in cells]

    trainings = refine(START, {}, SPACE, HOW.model_copy(update={"capacity": 0.3}), alike, small=convolutions)
    assert {edge.op for edge in trainings[-1].genotype.cells["cell"].edges} == {"nor_conv_3x3"}
    assert trainings[-1].counts == trainings[-1].expected == 1.0
    assert trainings[0].counts == pytest.approx(1.0 + 0.3 * 6)
    assert refine(START, {}, SPACE, HOW, alike, small=convolutions)[-1].genotype == START


@pytest.mark.parametrize(("capacity", "larger"), [(0.09, False), (0.11, True)])
def test_in_the_finals_a_smaller_network_must_gain_what_its_size_is_worth(capacity: float, larger: bool) -> None:
    """Of two finalists, one operation apart, the smaller has the loss that is lower by 0.1 nats."""

    def late(cells: Sequence[Genotype]) -> list[Verdict]:
        return [Verdict(0.2 + 0.1 * cell.to_arch().count("nor_conv_3x3"), 0.5) for cell in cells]

    how = RefineConfig(trainings=0, finalists=19, capacity=capacity)
    trainings = refine(START, {}, SPACE, how, judge, late, convolutions)
    assert (trainings[-1].genotype.to_arch().count("nor_conv_3x3") == 1) is larger
    assert trainings[-1].counts == min(one.counts for one in trainings if one.final)
    assert trainings[-1].counts == pytest.approx(trainings[-1].loss + capacity * convolutions(trainings[-1].genotype))


def test_more_finalists_than_cells_are_all_cells() -> None:
    trainings = refine(START, {}, SPACE, RefineConfig(trainings=0, finalists=50), judge, judge)
    assert len(trainings) == 19 + 19 + 1


def shares_of(favourite: str, share: float) -> Shares:
    ops = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    edges = START.cells["cell"].edges
    others = (1 - share) / 3
    return {("cell", e.source, e.target, op): share if op == favourite else others for e in edges for op in ops}


@pytest.mark.parametrize(("share", "changes"), [(0.6, True), (0.97, False)])
def test_a_change_must_gain_more_than_the_search_speaks_against_it(share: float, changes: bool) -> None:
    """A right change gains 0.1 nats; the search's share of the present operation is so many times that of the other."""
    against = math.log(share / ((1 - share) / 3))
    how = HOW.model_copy(update={"temperature": 0.1 / 2.5})  # as much as a factor of exp(2.5) in the shares
    assert (against < 2.5) is changes
    found = refine(START, shares_of("nor_conv_1x1", share), SPACE, how, judge)[-1].genotype
    assert found == (WANTED if changes else START)


def test_where_short_trainings_are_alike_the_search_decides() -> None:
    def alike(cells: Sequence[Genotype]) -> list[Verdict]:
        return [Verdict(1.0, 0.5) for _ in cells]

    found = refine(START, shares_of("nor_conv_3x3", 0.4), SPACE, HOW, alike)[-1].genotype
    assert {edge.op for edge in found.cells["cell"].edges} == {"nor_conv_3x3"}
    assert refine(START, {}, SPACE, HOW, alike)[-1].genotype == START


def test_shares_count_every_operation_with_one_more_vote() -> None:
    nodes = [NodeWeights(torch.tensor([[0.5, 0.5, 0.0, 0.0]] * n), None) for n in (1, 2, 3)]
    shares = operation_shares({"cell": nodes}, SPACE, images=96)
    assert len(shares) == 6 * 4
    first, second, third, _ = SPACE.nodes("cell")[2][1].candidates
    assert shares["cell", 1, 3, first] == shares["cell", 1, 3, second] == 49 / 100
    assert shares["cell", 1, 3, third] == 1 / 100


@pytest.mark.parametrize("kill_after", [5, 23])  # among the first, and in the finals
def test_trainings_that_were_done_are_not_done_again_after_an_interruption(
    kill_after: int, digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, _, meta = digits
    search = SearchConfig(channels=2, cells=1, images=64, batch_size=16)
    how = RefineConfig(trainings=3, epochs=2, finalists=2, final_epochs=5)
    done = list[tuple[str, int, int]]()

    class Counted(ShortTrainings):
        def __call__(self, genotype: Genotype) -> Verdict:
            if len(done) == kill_after:
                done.append(("killed", 0, 0))
                raise KeyboardInterrupt
            done.append((genotype.hash, self.epochs, self.seed))
            return verdict(genotype)

    monkeypatch.setattr(module, "ShortTrainings", Counted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # in this process
    checkpoint = Checkpoint(tmp_path / "decode-0", "print")
    arguments = (START, {}, SPACE, search, how, train, meta, 0, checkpoint)
    with pytest.raises(KeyboardInterrupt):
        refined(*arguments)
    trainings = refined(*arguments)
    assert len(done) == len(set(done)) == (1 + 6 * 3) + 1 + 3 + 2
    done.remove(("killed", 0, 0))
    assert [epochs for _, epochs, _ in done] == [2] * (19 + 3) + [5] * 2
    assert len({seed for *_, seed in done[:-2]}) == len({seed for *_, seed in done[-2:]}) == 1
    assert done[0][2] != done[-1][2]  # finals are from other weights
    assert trainings == refine(START, {}, SPACE, how, judge, judge)


@pytest.mark.parametrize(("samples", "first"), [(1, 0.3), (2, 0.5)])
def test_the_shares_are_votes_and_of_weights_alike_for_all_images_the_weights(samples: int, first: float) -> None:
    """Two images of which each votes for another operation, or one row of weights that stands for all images."""
    rows = torch.tensor([[0.3, 0.28, 0.22, 0.2], [0.2, 0.4, 0.2, 0.2]])[:samples]
    nodes = [NodeWeights(rows[:, None].expand(-1, n, -1), None) for n in (1, 2, 3)]
    op = SPACE.nodes("cell")[0][0].candidates[0]
    assert sample_shares({"cell": [nodes]}, SPACE, "vote", 96)["cell", 0, 1, op] == pytest.approx(
        (96 * first + 1) / 100
    )


@pytest.mark.parametrize(("cells", "named"), [((2,), "decode.refine.cells: 2"), ((3, 1), "decode.refine.cells: 1")])
def test_networks_too_short_to_hold_every_type_of_cell_judge_none(
    digits: Data, cells: tuple[int, ...], named: str
) -> None:
    space, how = get_space("darts").without(["none"]), RefineConfig(cells=cells)
    edges = [("skip_connect", 0), ("sep_conv_3x3", 1)] * 4
    lists = {"normal": edges, "normal_concat": [2, 3, 4, 5], "reduce": edges, "reduce_concat": [2, 3, 4, 5]}
    search = SearchConfig(channels=2, cells=3, images=80, batch_size=20)
    with pytest.raises(ParamsError, match=f"^{named} make a stack with no normal cell; it takes 3 or more"):
        refined(Genotype.from_lists("darts", **lists), {}, space, search, how, digits[0], digits[2], 0)
