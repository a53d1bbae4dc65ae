"""A decoded cell against its neighbours, each trained briefly from scratch: what a supernet cannot tell.

In a supernet every edge holds some skip connection, so nothing in it asks whether the decoded cell, alone and deep, can
still be trained. Short trainings of whole networks do; DARTS itself trains the cells of four searches briefly and keeps the
best (arXiv 1806.09055, section 3.1). First comes a survey of all cells that differ in one operation, then sweeps over the edges,
the most promising first. Every arm is refined in the same way.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from midas.data.prepared import DataMeta, Split
from midas.genotype import CellGenotype, Edge, Genotype
from midas.runs.checkpoint import Checkpoint
from midas.runs.progress import progress
from midas.search.brief import CPU, ShortTrainings, Verdict, short_recipe, trainer
from midas.search.config import RefineConfig, SearchConfig
from midas.search.halves import Halves
from midas.spaces.space import Space

Judge = Callable[
    [int, Sequence[Genotype]], Sequence[Verdict]
]  # the round's number and cells, to short trainings of them
Place = tuple[str, int]  # the type of cell, and which of its edges


class ShortTraining(NamedTuple):
    """One of them: its sweep (0 is the survey), cell, loss in nats, accuracy in [0, 1]; whether the sweep ended with the cell."""

    sweep: int
    genotype: Genotype
    loss: float
    accuracy: float
    kept: bool = False


def refined(
    start: Genotype,
    space: Space,
    search: SearchConfig,
    how: RefineConfig,
    train: Split,
    meta: DataMeta,
    seed: int,
    checkpoint: Checkpoint | None = None,
    device: torch.device = CPU,
) -> list[ShortTraining]:
    """`refine` by short trainings; shown as it goes on, and resumed after the last training that a checkpoint holds.

    Args:
        start: the decoded cell.
        space: without what the search left out.
        search: the recipe of the trainings.
        how: what differs from it, and how many there are.
        train: the training images, halved as in the search.
        meta: classes and statistics of the data.
        seed: of the weights and of the order of the images.
        checkpoint: where the verdicts are kept.
        device: that computes.
    """
    known: dict[str, tuple[torch.Tensor, float]] = dict((checkpoint.load() if checkpoint else None) or {})
    stages = []
    for images in (how.survey_images, how.images):
        recipe = short_recipe(search, how, images, meta)
        stages.append(ShortTrainings(space, recipe, how.epochs, Halves(train, recipe), meta, seed, device))
    others = [len(alternatives(start, place, space)) for place in places(start)]
    most = 1 + sum(others) + how.sweeps * (1 + sum(min(how.choices, n) for n in others))
    with progress(f"refine seed {seed}", most) as report, trainer(device) as run:

        def judge(sweep: int, cells: Sequence[Genotype]) -> list[Verdict]:
            trainings = stages[min(sweep, 1)]
            keys = [f"{trainings.recipe.images} {cell.hash}" for cell in cells]  # the stages differ in nothing else
            new = {key: cell for key, cell in zip(keys, cells, strict=True) if key not in known}
            for key, verdict in zip(new, run(trainings, list(new.values())), strict=True):
                known[key] = (verdict.losses, verdict.accuracy)
                if checkpoint:
                    checkpoint.save(known)
                report.step(accuracy=verdict.accuracy, loss=verdict.loss)
            return [Verdict(*known[key]) for key in keys]

        trainings = refine(start, space, how, judge)
        cells = [start, *(training.genotype for training in trainings if training.kept)]
        changed = sum(len(set(_edges(one)) - set(_edges(other))) for one, other in pairwise(cells))
        report.note(f"{len(known)} short trainings, {changed} operations changed")
    return trainings


def refine(start: Genotype, space: Space, how: RefineConfig, judge: Judge) -> list[ShortTraining]:
    """Survey all cells that differ from `start` in one operation, then give each edge the operation that is decisively best.

    A sweep goes over the edges once, that first where the survey's best gain was the largest: a change that matters most
    decides what the others should be. On each edge it tries what did best there before.

    Args:
        start: the decoded cell.
        space: without what the search left out.
        how: how many sweeps and choices, and what is decisive.
        judge: trains cells and tests them.

    Returns:
        All trainings in their order, and after those of a sweep the cell that it ended with once more, as `kept`.
    """
    cell, edges = start, places(start)
    field = [start, *(other for place in edges for other in alternatives(start, place, space))]
    verdicts = judge(0, field)
    trainings = [ShortTraining(0, g, v.loss, v.accuracy) for g, v in zip(field, verdicts, strict=True)]
    losses = {other.genotype.hash: other.loss for other in trainings}
    gap = {  # what an operation lost in its last comparison with the one that was there
        (place, _at(other, place).op): losses[other.hash] - losses[start.hash]
        for place in edges
        for other in (start, *alternatives(start, place, space))
    }
    for sweep in range(1, how.sweeps + 1):
        seen = dict[str, ShortTraining]()
        for place in sorted(edges, key=lambda place: min(gap[place, op] for op in _ops(space, start, place))):
            others = sorted(alternatives(cell, place, space), key=lambda other: gap[place, _at(other, place).op])
            field = [cell, *others[: how.choices]]
            verdicts = judge(sweep, field)
            for genotype, verdict in zip(field, verdicts, strict=True):
                seen.setdefault(genotype.hash, ShortTraining(sweep, genotype, verdict.loss, verdict.accuracy))
                gap[place, _at(genotype, place).op] = verdict.loss - verdicts[0].loss
            best = min(range(len(field)), key=lambda i: verdicts[i].loss)  # of equal ones the cell, which is the first
            if decisive(verdicts[best], verdicts[0], how.standard_errors):
                cell = field[best]
        trainings += [*seen.values(), seen[cell.hash]._replace(kept=True)]
    return trainings


def decisive(one: Verdict, other: Verdict, errors: float) -> bool:
    """Whether a loss is below another by more than so many standard errors of the mean difference, image by image.

    The error is that of testing on so many images; that of the training itself comes on top and is not in it.
    """
    difference = other.losses - one.losses
    return float(difference.mean()) > errors * float(difference.std()) / math.sqrt(len(difference))


def places(genotype: Genotype) -> list[Place]:
    """Every edge of every type of cell."""
    return [(kind, place) for kind, cell in genotype.cells.items() for place in range(len(cell.edges))]


def alternatives(genotype: Genotype, place: Place, space: Space) -> list[Genotype]:
    """The cells that differ in the operation of this edge, and there alone."""
    kind, number = place
    cell, edge = genotype.cells[kind], _at(genotype, place)
    result = []
    for op in _ops(space, genotype, place):
        if op != edge.op:
            edges = (*cell.edges[:number], edge._replace(op=op), *cell.edges[number + 1 :])
            result.append(Genotype(genotype.space, {**genotype.cells, kind: CellGenotype(edges, cell.concat)}))
    return result


def _edges(genotype: Genotype) -> list[tuple[str, Edge]]:
    return [(kind, edge) for kind, cell in genotype.cells.items() for edge in cell.edges]


def _at(genotype: Genotype, place: Place) -> Edge:
    return genotype.cells[place[0]].edges[place[1]]


def _ops(space: Space, genotype: Genotype, place: Place) -> list[str]:
    """What may stand on an edge: `none` only where the space keeps all edges, or where it stands already."""
    own = _at(genotype, place).op
    return [op for op in _candidates(space, genotype, place) if op != "none" or space.keep is None or op == own]


def _candidates(space: Space, genotype: Genotype, place: Place) -> Sequence[str]:
    edge = _at(genotype, place)
    specs = (spec for node in space.nodes(place[0]) for spec in node)
    return next(spec.candidates for spec in specs if (spec.source, spec.target) == (edge.source, edge.target))
