"""A decoded cell is changed one operation at a time while short trainings say that it helps."""

from pathlib import Path

import pytest
import torch

from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.runs.checkpoint import Checkpoint
from midas.search import refine as module
from midas.search.config import RefineConfig, SearchConfig
from midas.search.decode import Distributions, NodeWeights
from midas.search.halves import Halves
from midas.search.refine import brief_training, neighbours, refine, refined
from midas.spaces import get_space

SPACE = get_space("nasbench201").without(["none"])
START = Genotype.from_arch(
    "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|nor_conv_1x1~0|nor_conv_1x1~1|nor_conv_1x1~2|"
)
WANTED = Genotype.from_arch(
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_1x1~2|"
)
Data = tuple[Split, Split, DataMeta]


def uniform() -> Distributions:
    return {"cell": [NodeWeights(torch.full((n, 4), 0.25), None) for n in (1, 2, 3)]}


def shared(genotype: Genotype) -> int:
    return len(set(genotype.cells["cell"].edges) & set(WANTED.cells["cell"].edges))


def test_the_neighbours_are_all_cells_that_differ_in_one_operation_the_likeliest_first() -> None:
    found = uniform()
    found["cell"][2].a[0] = torch.tensor([0.3, 0.1, 0.2, 0.4])
    cells = neighbours(START, found, SPACE)
    assert len({cell.hash for cell in cells}) == 6 * 3
    assert all(len(set(cell.cells["cell"].edges) - set(START.cells["cell"].edges)) == 1 for cell in cells)
    candidates = SPACE.nodes("cell")[2][0].candidates
    changed = [next(iter(set(cell.cells["cell"].edges) - set(START.cells["cell"].edges))) for cell in cells]
    gains = {edge.op: i for i, edge in enumerate(changed) if (edge.source, edge.target) == (0, 3)}
    weights = dict(zip(candidates, found["cell"][2].a[0].tolist(), strict=True))
    assert sorted(gains, key=lambda op: gains[op]) == sorted(gains, key=lambda op: -weights[op])


def test_neighbours_of_a_darts_cell_keep_its_edges_and_never_hold_none() -> None:
    space = get_space("darts")
    edges = [("none", 0), ("sep_conv_3x3", 1)] + [("skip_connect", 0), ("sep_conv_3x3", 1)] * 3
    lists = {"normal": edges, "normal_concat": [2, 3, 4, 5], "reduce": edges, "reduce_concat": [2, 3, 4, 5]}
    start = Genotype.from_lists("darts", **lists)
    found = {kind: [NodeWeights(torch.full((n, 8), 1 / 8), None) for n in (2, 3, 4, 5)] for kind in space.edges}
    cells = neighbours(start, found, space)
    assert len(cells) == 2 * (7 + 7 * 6)  # the edge with none has seven others
    places = [{(e.source, e.target) for e in cell.cells["normal"].edges} for cell in cells]
    assert all(place == places[0] for place in places)
    assert all(sum(e.op == "none" for c in cell.cells.values() for e in c.edges) <= 2 for cell in cells)


def test_the_best_neighbour_takes_the_place_of_the_cell_round_by_round() -> None:
    heats = refine(START, uniform(), SPACE, RefineConfig(rounds=3), lambda cell, epochs: shared(cell) + epochs / 10)
    assert heats[-1].genotype == WANTED
    assert [heat.round for heat in heats if heat.kept] == [1, 2, 3]  # the third finds nothing better
    assert {heat.epochs for heat in heats} == {1, 3}
    assert sum(heat.round == 1 for heat in heats) == 19 + 4 + 1


def test_a_cell_that_no_neighbour_beats_is_kept_though_some_do_as_well() -> None:
    heats = refine(START, uniform(), SPACE, RefineConfig(rounds=5), lambda cell, epochs: 0.5)
    assert heats[-1].genotype == START
    assert heats[-1].round == 1


def test_the_last_heat_decides_and_the_cell_always_takes_part() -> None:
    how = RefineConfig(rounds=1, finalists=2)
    heats = refine(START, uniform(), SPACE, how, lambda cell, epochs: shared(cell) if epochs == 1 else -shared(cell))
    assert next(heat.genotype for heat in heats if heat.epochs == 3) == START
    assert heats[-1].genotype == START


def test_short_trainings_are_repeatable_and_tell_a_network_from_a_dead_one(digits: Data) -> None:
    train, _, meta = digits
    search = SearchConfig(channels=4, cells=1, images=400, batch_size=32, learning_rate=0.1)
    halves = Halves(train, search)
    judge = brief_training(get_space("nasbench201"), search, RefineConfig(), halves, meta, seed=0)
    dead = Genotype.from_arch("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert judge(START, 2) == judge(START, 2)
    assert judge(START, 8) > judge(dead, 8) + 0.2


def test_trainings_that_were_done_are_not_done_again_after_an_interruption(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, _, meta = digits
    search, how = SearchConfig(channels=2, cells=1, images=64, batch_size=16), RefineConfig(rounds=1)
    halves, done = Halves(train, search), list[str]()

    def counted(*arguments: object) -> module.Judge:
        def judge(genotype: Genotype, epochs: int) -> float:
            if len(done) == 5:
                done.append("killed")
                raise KeyboardInterrupt
            done.append(f"{epochs} {genotype.hash}")
            return shared(genotype) / 10

        return judge

    monkeypatch.setattr(module, "brief_training", counted)
    checkpoint = Checkpoint(tmp_path / "decode-0", "print")
    arguments = (START, uniform(), SPACE, search, how, halves, meta, 0, checkpoint)
    with pytest.raises(KeyboardInterrupt):
        refined(*arguments)
    heats = refined(*arguments)
    assert len(done) == len(set(done))
    assert len(heats) == 19 + 4 + 1
    assert heats == refine(START, uniform(), SPACE, how, lambda cell, epochs: shared(cell) / 10)


def test_the_neighbours_of_a_round_may_be_fewer() -> None:
    how = RefineConfig(rounds=1, neighbours=3, epochs=[1])
    assert len(refine(START, uniform(), SPACE, how, lambda cell, epochs: 0.0)) == 1 + 3 + 1
