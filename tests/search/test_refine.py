"""A decoded cell is changed edge by edge where short trainings say that it helps."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.runs.checkpoint import Checkpoint
from midas.search import refine as module
from midas.search.brief import ShortTrainings, Verdict
from midas.search.config import DecodeConfig, RefineConfig, SearchConfig
from midas.search.decode import NodeWeights
from midas.search.refine import Judge, Shares, alternatives, operation_shares, places, refine, refined
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
ONE_SWEEP = RefineConfig()


def shared(genotype: Genotype) -> int:
    return len(set(genotype.cells["cell"].edges) & set(WANTED.cells["cell"].edges))


def verdict(genotype: Genotype) -> Verdict:
    """A loss that falls by 0.1 for each edge that the wanted cell has too."""
    return Verdict(2 - 0.1 * shared(genotype), shared(genotype) / 10)


def judge(sweep: int, cells: Sequence[Genotype]) -> list[Verdict]:
    return [verdict(cell) for cell in cells]


def recorded(seen: list[list[Genotype]], by: Judge = judge) -> Judge:
    def judge(sweep: int, cells: Sequence[Genotype]) -> Sequence[Verdict]:
        seen.append(list(cells))
        return by(sweep, cells)

    return judge


def test_alternatives_differ_in_the_operation_of_one_edge() -> None:
    for place in places(START):
        cells = alternatives(START, place, SPACE)
        changes = [set(cell.cells["cell"].edges) - set(START.cells["cell"].edges) for cell in cells]
        assert [len(change) for change in changes] == [1, 1, 1]
        assert {edge.op for change in changes for edge in change} == {"skip_connect", "nor_conv_3x3", "avg_pool_3x3"}


def test_alternatives_of_a_darts_cell_keep_its_edges_and_never_bring_none() -> None:
    space = get_space("darts")
    edges = [("none", 0), ("sep_conv_3x3", 1)] + [("skip_connect", 0), ("sep_conv_3x3", 1)] * 3
    lists = {"normal": edges, "normal_concat": [2, 3, 4, 5], "reduce": edges, "reduce_concat": [2, 3, 4, 5]}
    start = Genotype.from_lists("darts", **lists)
    cells = [cell for place in places(start) for cell in alternatives(start, place, space)]
    assert len(cells) == 2 * (7 + 7 * 6)  # the edge with none has seven others
    kept = [{(e.source, e.target) for e in cell.cells["normal"].edges} for cell in cells]
    assert all(one == kept[0] for one in kept)
    assert all(sum(e.op == "none" for c in cell.cells.values() for e in c.edges) <= 2 for cell in cells)


def test_a_sweep_can_mend_every_edge() -> None:
    trainings = refine(START, {}, SPACE, ONE_SWEEP, judge)
    survey = [training for training in trainings if training.sweep == 0]
    assert len({training.genotype.hash for training in survey}) == len(survey) == 1 + 6 * 3
    assert survey[0] == (0, START, pytest.approx(1.7), pytest.approx(0.3), False)
    assert trainings[-1] == (1, WANTED, pytest.approx(1.4), pytest.approx(0.6), True)
    assert len(trainings) == len(survey) + 1 + 6 * 2 + 1


def test_the_edge_with_the_best_change_of_the_survey_comes_first_and_its_best_choices_are_tried() -> None:
    seen = list[list[Genotype]]()
    order = {"nor_conv_3x3~1": 3, "skip_connect~2": 2, "avg_pool_3x3~2": 1}  # what they gain, where they are alone

    def by_name(sweep: int, cells: Sequence[Genotype]) -> list[Verdict]:
        gains = [max((gain for op, gain in order.items() if op in cell.to_arch()), default=0) for cell in cells]
        return [Verdict(9.0 - gain * (sweep == 0), 0.5) for gain in gains]  # in the sweep nothing is gained

    refine(START, {}, SPACE, RefineConfig(choices=1), recorded(seen, by_name))
    survey, *sweep = seen
    assert len(survey) == 19
    changed = [next(iter(set(cells[1].cells["cell"].edges) - set(cells[0].cells["cell"].edges))) for cells in sweep]
    assert [len(cells) for cells in sweep] == [2] * 6
    assert {tuple(edge) for edge in changed[:2]} == {("nor_conv_3x3", 1, 2), ("nor_conv_3x3", 1, 3)}
    assert changed[2] == ("skip_connect", 2, 3)


def test_what_a_sweep_learned_of_an_edge_counts_in_the_next() -> None:
    seen = list[list[Genotype]]()

    def later(sweep: int, cells: Sequence[Genotype]) -> list[Verdict]:
        """The survey is for pooling, every sweep for skips."""
        wanted = "skip_connect" if sweep else "avg_pool_3x3"
        return [Verdict(9.0 - cell.to_arch().count(wanted), 0.5) for cell in cells]

    how = RefineConfig(choices=1, sweeps=2)
    first, second = (
        [training for training in refine(START, {}, SPACE, how, recorded(seen, later)) if training.kept][n]
        for n in (0, 1)
    )
    assert (first.sweep, second.sweep) == (1, 2)
    assert first.genotype == START  # pooling was tried, and is no better than what is there
    assert all("avg_pool" in cells[1].to_arch() for cells in seen[1:7])


def shares_of(favourite: str, share: float) -> Shares:
    ops = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    edges = START.cells["cell"].edges
    others = (1 - share) / 3
    return {("cell", e.source, e.target, op): share if op == favourite else others for e in edges for op in ops}


@pytest.mark.parametrize(("share", "changes"), [(0.6, True), (0.97, False)])
def test_a_change_must_gain_more_than_the_search_speaks_against_it(share: float, changes: bool) -> None:
    """A right change gains 0.1 nats; the search's share of the present operation is so many times that of the other."""
    against = math.log(share / ((1 - share) / 3))
    how = RefineConfig(temperature=0.1 / 2.5)  # as much as a factor of exp(2.5) in the shares
    assert (against < 2.5) is changes
    found = refine(START, shares_of("nor_conv_1x1", share), SPACE, how, judge)[-1].genotype
    assert found == (WANTED if changes else START)


def test_where_short_trainings_are_alike_the_search_decides() -> None:
    def alike(sweep: int, cells: Sequence[Genotype]) -> list[Verdict]:
        return [Verdict(1.0, 0.5) for _ in cells]

    found = refine(START, shares_of("nor_conv_3x3", 0.4), SPACE, ONE_SWEEP, alike)[-1].genotype
    assert {edge.op for edge in found.cells["cell"].edges} == {"nor_conv_3x3"}
    assert refine(START, {}, SPACE, ONE_SWEEP, alike)[-1].genotype == START


def test_shares_count_every_operation_with_one_more_vote() -> None:
    nodes = [NodeWeights(torch.tensor([[0.5, 0.5, 0.0, 0.0]] * n), None) for n in (1, 2, 3)]
    shares = operation_shares({"cell": nodes}, SPACE, images=96)
    assert len(shares) == 6 * 4
    first, second, third, _ = SPACE.nodes("cell")[2][1].candidates
    assert shares["cell", 1, 3, first] == shares["cell", 1, 3, second] == 49 / 100
    assert shares["cell", 1, 3, third] == 1 / 100


def test_trainings_that_were_done_are_not_done_again_after_an_interruption(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, _, meta = digits
    search = SearchConfig(channels=2, cells=1, images=64, batch_size=16)
    how = RefineConfig(survey_images=32, choices=1)
    done = list[tuple[int | None, str]]()

    class Counted(ShortTrainings):
        def __call__(self, genotype: Genotype) -> Verdict:
            if len(done) == 5:
                done.append((None, "killed"))
                raise KeyboardInterrupt
            done.append((self.recipe.images, genotype.hash))
            return verdict(genotype)

    monkeypatch.setattr(module, "ShortTrainings", Counted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # in this process
    checkpoint = Checkpoint(tmp_path / "decode-0", "print")
    arguments = (START, {}, SPACE, search, how, train, meta, 0, checkpoint)
    with pytest.raises(KeyboardInterrupt):
        refined(*arguments)
    trainings = refined(*arguments)
    assert len(done) == len(set(done)) == (1 + 6 * 3) + 1 + (1 + 6)
    assert trainings == refine(START, {}, SPACE, how, judge)


@pytest.mark.parametrize(("samples", "first"), [(1, 0.3), (2, 0.5)])
def test_the_shares_are_votes_and_of_weights_alike_for_all_images_the_weights(samples: int, first: float) -> None:
    """Two images of which each votes for another operation, or one row of weights that stands for all images."""
    rows = torch.tensor([[0.3, 0.28, 0.22, 0.2], [0.2, 0.4, 0.2, 0.2]])[:samples]
    nodes = [NodeWeights(rows[:, None].expand(-1, n, -1), None) for n in (1, 2, 3)]
    how = DecodeConfig(rule="vote", samples=96)
    op = SPACE.nodes("cell")[0][0].candidates[0]
    assert sample_shares({"cell": [nodes]}, SPACE, how)["cell", 0, 1, op] == pytest.approx((96 * first + 1) / 100)
