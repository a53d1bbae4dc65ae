"""A decoded cell is changed edge by edge while short trainings say that it helps."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.runs.checkpoint import Checkpoint
from midas.search import refine as module
from midas.search.brief import ShortTrainings, Verdict
from midas.search.config import RefineConfig, RefineRound, SearchConfig
from midas.search.decode import Distributions, NodeWeights
from midas.search.refine import Judge, alternatives, decisive, places, refine, refined
from midas.spaces import get_space

SPACE = get_space("nasbench201").without(["none"])
START = Genotype.from_arch(
    "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|nor_conv_1x1~0|nor_conv_1x1~1|nor_conv_1x1~2|"
)
WANTED = Genotype.from_arch(
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
)
Data = tuple[Split, Split, DataMeta]
ONE_ROUND = RefineConfig(rounds=[RefineRound()])


def uniform() -> Distributions:
    return {"cell": [NodeWeights(torch.full((n, 4), 0.25), None) for n in (1, 2, 3)]}


def shared(genotype: Genotype) -> int:
    return len(set(genotype.cells["cell"].edges) & set(WANTED.cells["cell"].edges))


def verdict(genotype: Genotype, noise: float = 0.0) -> Verdict:
    """Losses that fall by 0.1 for each edge that the wanted cell has too."""
    losses = 2 - 0.1 * shared(genotype) + noise * torch.randn(100, generator=torch.Generator().manual_seed(0))
    return Verdict(losses, shared(genotype) / 10)


def judge(number: int, cells: Sequence[Genotype]) -> list[Verdict]:
    return [verdict(cell) for cell in cells]


def recorded(seen: list[list[Genotype]], by: Judge = judge) -> Judge:
    def judge(number: int, cells: Sequence[Genotype]) -> Sequence[Verdict]:
        seen.append(list(cells))
        return by(number, cells)

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


def test_one_round_can_mend_every_edge() -> None:
    trainings = refine(START, uniform(), SPACE, ONE_ROUND, judge)
    assert trainings[-1] == (1, WANTED, pytest.approx(1.4), pytest.approx(0.6), True)
    assert len(trainings) == len({training.genotype.hash for training in trainings}) + 1 == 1 + 6 * 3 + 1


def test_the_edges_that_the_output_reads_come_first() -> None:
    seen = list[list[Genotype]]()
    refine(START, uniform(), SPACE, ONE_ROUND, recorded(seen))
    changed = [next(iter(set(cells[1].cells["cell"].edges) - set(cells[0].cells["cell"].edges))) for cells in seen]
    assert [(edge.source, edge.target) for edge in changed] == [(2, 3), (1, 3), (0, 3), (1, 2), (0, 2), (0, 1)]


def test_the_first_of_few_choices_are_those_that_the_search_found_likeliest() -> None:
    found, seen = uniform(), list[list[Genotype]]()
    candidates = SPACE.nodes("cell")[2][2].candidates
    found["cell"][2].a[2] = torch.tensor([0.9 if op == "avg_pool_3x3" else 0.1 / 3 for op in candidates])
    refine(START, found, SPACE, RefineConfig(rounds=[RefineRound(choices=1)]), recorded(seen))
    assert "avg_pool_3x3~2" in seen[0][1].to_arch()
    assert all(len(cells) == 2 for cells in seen)


def test_a_round_of_few_choices_tries_those_that_did_best_before() -> None:
    seen = list[list[Genotype]]()
    how = RefineConfig(rounds=[RefineRound(), RefineRound(choices=1)], standard_errors=1e9)  # nothing is decisive

    def by_name(number: int, cells: Sequence[Genotype]) -> list[Verdict]:
        """Average pooling is always second to what is there."""
        return [
            Verdict(torch.full((4,), 1.0 + ("avg_pool" not in cell.to_arch()) * (cell != START)), 0.5) for cell in cells
        ]

    trainings = refine(START, uniform(), SPACE, how, recorded(seen, by_name))
    assert [len(cells) for cells in seen] == [4] * 6 + [2] * 6
    assert all("avg_pool" in cells[1].to_arch() for cells in seen[6:])
    assert [training.genotype for training in trainings if training.kept] == [START, START]


def test_a_gain_within_the_error_of_testing_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)

    def noisy(number: int, cells: Sequence[Genotype]) -> list[Verdict]:
        return [Verdict(verdict(cell).losses + 3 * torch.randn(100, generator=generator), 0.5) for cell in cells]

    assert refine(START, uniform(), SPACE, ONE_ROUND, noisy)[-1].genotype == START
    assert refine(START, uniform(), SPACE, ONE_ROUND, judge)[-1].genotype == WANTED


@pytest.mark.parametrize(("gap", "spread", "images"), [(0.1, 1.0, 500), (0.02, 0.5, 5000)])
def test_standard_errors_are_those_of_the_mean_difference_image_by_image(
    gap: float, spread: float, images: int
) -> None:
    losses = torch.rand(images, generator=torch.Generator().manual_seed(1))
    change = spread * torch.randn(images, generator=torch.Generator().manual_seed(2))
    change += gap - change.mean()
    better, worse = Verdict(losses, 0.5), Verdict(losses + change, 0.5)
    errors = gap / (float(change.std()) / images**0.5)
    assert decisive(better, worse, 0.999 * errors)
    assert not decisive(better, worse, 1.001 * errors)
    assert not decisive(worse, better, 0.0)
    assert not decisive(better, better, 0.0)


def test_trainings_that_were_done_are_not_done_again_after_an_interruption(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, _, meta = digits
    search = SearchConfig(channels=2, cells=1, images=64, batch_size=16)
    how = RefineConfig(rounds=[RefineRound(images=32), RefineRound(choices=1)])
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
    arguments = (START, uniform(), SPACE, search, how, train, meta, 0, checkpoint)
    with pytest.raises(KeyboardInterrupt):
        refined(*arguments)
    trainings = refined(*arguments)
    assert len(done) == len(set(done)) == (1 + 6 * 3) + 1 + (1 + 6)
    assert trainings == refine(START, uniform(), SPACE, how, judge)
