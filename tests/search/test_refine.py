"""A decoded cell is changed one operation at a time while short trainings say that it helps."""

from pathlib import Path

import pytest
import torch

from midas.data.augment import AugmentConfig
from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.runs.checkpoint import Checkpoint
from midas.search import refine as module
from midas.search.config import RefineConfig, SearchConfig
from midas.search.decode import Distributions, NodeWeights
from midas.search.halves import Halves
from midas.search.refine import brief_training, decisive, neighbours, refine, refined, short_recipe
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


def by_shared(cell: Genotype) -> float:
    """An accuracy that rises by 0.1 for each edge that the wanted cell has too."""
    return shared(cell) / 10


def test_the_best_neighbour_takes_the_place_of_the_cell_round_by_round() -> None:
    trainings = refine(START, uniform(), SPACE, RefineConfig(rounds=3), by_shared, images=1000)
    assert trainings[-1].genotype == WANTED
    assert [training.round for training in trainings if training.kept] == [1, 2, 3]  # the third finds nothing better
    assert sum(training.round == 1 for training in trainings) == 19 + 1


def test_a_cell_that_no_neighbour_beats_is_kept_though_some_do_as_well() -> None:
    trainings = refine(
        START, uniform(), SPACE, RefineConfig(rounds=5, standard_errors=0), lambda cell: 0.5, images=1000
    )
    assert trainings[-1] == trainings[0]._replace(kept=True)
    assert trainings[-1].round == 1


def test_a_gain_within_the_error_of_testing_changes_nothing() -> None:
    few, many = (refine(START, uniform(), SPACE, RefineConfig(), by_shared, images=n)[-1] for n in (100, 1000))
    assert few == (1, START, 0.4, True)  # 0.4 to 0.5 on 100 images is 1.4 standard errors
    assert many.genotype == WANTED


@pytest.mark.parametrize(("one", "other", "images"), [(0.55, 0.45, 500), (0.36, 0.30, 5000), (1.0, 0.99, 2000)])
def test_standard_errors_are_those_of_the_difference_of_two_shares(one: float, other: float, images: int) -> None:
    mean = (one + other) / 2
    error = (mean * (1 - mean) / images + mean * (1 - mean) / images) ** 0.5
    assert decisive(one, other, images, 0.999 * (one - other) / error)
    assert not decisive(one, other, images, 1.001 * (one - other) / error)
    assert not decisive(other, one, images, 0.0)


def test_short_trainings_take_the_searches_recipe_but_for_what_is_said(digits: Data) -> None:
    search = SearchConfig(cells=1, size=16, images=100, augment=AugmentConfig(pad=2, flip=True))
    assert short_recipe(search, RefineConfig(), digits[2]) == search
    short = short_recipe(search, RefineConfig(cells=3, size=8, images=60), digits[2])
    assert (short.cells, short.size, short.images, short.augment.pad) == (3, 8, 60, 1)
    assert short.model_copy(update={n: getattr(search, n) for n in ("cells", "size", "images", "augment")}) == search


def test_short_trainings_are_repeatable_and_tell_a_network_from_a_dead_one(digits: Data) -> None:
    train, _, meta = digits
    search = SearchConfig(channels=4, cells=1, images=400, batch_size=32, learning_rate=0.1)
    brief, longer = (
        brief_training(get_space("nasbench201"), search, epochs, Halves(train, search), meta, seed=0)
        for epochs in (2, 8)
    )
    dead = Genotype.from_arch("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert brief(START) == brief(START)
    assert longer(START) > longer(dead) + 0.2


def test_trainings_that_were_done_are_not_done_again_after_an_interruption(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, _, meta = digits
    search, how = SearchConfig(channels=2, cells=1, images=64, batch_size=16), RefineConfig(rounds=1)
    done = list[str]()

    def counted(*arguments: object) -> module.Judge:
        def judge(genotype: Genotype) -> float:
            if len(done) == 5:
                done.append("killed")
                raise KeyboardInterrupt
            done.append(genotype.hash)
            return by_shared(genotype)

        return judge

    monkeypatch.setattr(module, "brief_training", counted)
    checkpoint = Checkpoint(tmp_path / "decode-0", "print")
    arguments = (START, uniform(), SPACE, search, how, train, meta, 0, checkpoint)
    with pytest.raises(KeyboardInterrupt):
        refined(*arguments)
    trainings = refined(*arguments)
    assert len(done) == len(set(done)) == 19 + 1
    assert trainings == refine(START, uniform(), SPACE, how, by_shared, images=32)


def test_the_neighbours_of_a_round_may_be_fewer() -> None:
    how = RefineConfig(rounds=1, neighbours=3)
    assert len(refine(START, uniform(), SPACE, how, lambda cell: 0.0, images=1000)) == 1 + 3 + 1
