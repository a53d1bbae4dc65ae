"""A decoded cell against its neighbours, each trained briefly from scratch: what a supernet cannot tell.

In a supernet every edge holds some skip connection, so nothing in it asks whether the decoded cell, alone and deep, can
still be trained. Short trainings of whole networks do; DARTS itself trains the cells of four searches briefly and keeps the
best (arXiv 1806.09055, section 3.1). First comes a survey of all cells that differ in one operation, then sweeps over the edges,
the most promising first. What the search found keeps its weight: the loss of a short training counts together with the share
that the operation had in the search. Every arm is refined in the same way.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from midas.data.prepared import DataMeta, Split
from midas.genotype import CellGenotype, Edge, Genotype
from midas.runs.checkpoint import Checkpoint
from midas.runs.progress import progress
from midas.search.brief import CPU, ShortTrainings, Verdict, short_recipe, trainer
from midas.search.config import RefineConfig, SearchConfig
from midas.search.decode import Distributions
from midas.search.halves import Halves
from midas.spaces.space import Space

Judge = Callable[[int, Sequence[Genotype]], Sequence[Verdict]]  # the sweep (0: the survey) and cells, to verdicts
Place = tuple[str, int]  # the type of cell, and which of its edges
Shares = Mapping[tuple[str, int, int, str], float]  # type of cell, source, target and operation, to what it had


class ShortTraining(NamedTuple):
    """One of them: its sweep (0 is the survey), cell, loss in nats, accuracy in [0, 1]; whether the sweep ended with the cell."""

    sweep: int
    genotype: Genotype
    loss: float
    accuracy: float
    kept: bool = False


def refined(
    start: Genotype,
    shares: Shares,
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
        shares: of the operations in the search.
        space: without what the search left out.
        search: the recipe of the trainings.
        how: what differs from it, and how many there are.
        train: the training images, halved as in the search.
        meta: classes and statistics of the data.
        seed: of the weights and of the order of the images.
        checkpoint: where the verdicts are kept.
        device: that computes.
    """
    known: dict[str, tuple[float, float]] = dict((checkpoint.load() if checkpoint else None) or {})
    stages = []
    for images in (how.survey_images, how.images):
        recipe = short_recipe(search, how, images, meta)
        depths, halves = how.cells or (search.cells,), Halves(train, recipe)
        stages.append(ShortTrainings(space, recipe, depths, how.epochs, halves, meta, seed, device))
    others = [len(alternatives(start, place, space)) for place in places(start)]
    most = 1 + sum(others) + how.sweeps * (1 + sum(min(how.choices, n) for n in others))
    with progress(f"refine seed {seed}", most) as report, trainer(device) as run:

        def judge(sweep: int, cells: Sequence[Genotype]) -> list[Verdict]:
            trainings = stages[min(sweep, 1)]
            keys = [f"{trainings.recipe.images} {cell.hash}" for cell in cells]  # the stages differ in nothing else
            new = {key: cell for key, cell in zip(keys, cells, strict=True) if key not in known}
            for key, verdict in zip(new, run(trainings, list(new.values())), strict=True):
                known[key] = (verdict.loss, verdict.accuracy)
                if checkpoint:
                    checkpoint.save(known)
                report.step(accuracy=verdict.accuracy, loss=verdict.loss)
            return [Verdict(*known[key]) for key in keys]

        trainings = refine(start, shares, space, how, judge)
        cells = [start, *(training.genotype for training in trainings if training.kept)]
        changed = sum(len(set(_edges(one)) - set(_edges(other))) for one, other in pairwise(cells))
        report.note(f"{len(known)} short trainings, {changed} operations changed")
    return trainings


def refine(start: Genotype, shares: Shares, space: Space, how: RefineConfig, judge: Judge) -> list[ShortTraining]:
    """Survey all cells that differ from `start` in one operation, then give each edge the operation that is best there.

    What counts is the loss in nats less `how.temperature` times the logarithm of the operation's share in the search: as if
    the shares were a prior, and exp(-loss / temperature) the likelihood. At 0 only short trainings count, and at infinity
    only the search. A sweep goes over the edges once, that first where the best gain so far was the largest: a change that
    matters most decides what the others should be. On each edge it tries what did best there before.

    Args:
        start: the decoded cell.
        shares: of the operations in the search, each above 0; empty counts them as equal.
        space: without what the search left out.
        how: how many sweeps and choices, and what the search weighs.
        judge: trains cells and tests them.

    Returns:
        All trainings in their order, and after those of a sweep the cell that it ended with once more, as `kept`.
    """
    cell, edges = start, places(start)

    def gain(other: Genotype, now: Genotype, place: Place, loss: float, loss_now: float) -> float:
        """In nats, of a cell over the present one, which may differ from it in this edge."""
        if not shares:
            return loss_now - loss
        (kind, _), edge = place, _at(now, place)
        here, there = (shares[kind, edge.source, edge.target, op] for op in (edge.op, _at(other, place).op))
        return loss_now - loss + how.temperature * math.log(there / here)

    neighbours = [(place, other) for place in edges for other in alternatives(start, place, space)]
    first, *surveyed = judge(0, [start, *(other for _, other in neighbours)])
    trainings = [ShortTraining(0, start, *first)]
    gains = dict[tuple[Place, str], float]()  # of an operation over the one that was there when it was last tried
    for (place, other), verdict in zip(neighbours, surveyed, strict=True):
        trainings.append(ShortTraining(0, other, *verdict))
        gains[place, _at(other, place).op] = gain(other, start, place, verdict.loss, first.loss)
    for sweep in range(1, how.sweeps + 1):
        seen = dict[str, ShortTraining]()
        best = {at: max((g for (place, _), g in gains.items() if place == at), default=0.0) for at in edges}
        for place in sorted(edges, key=lambda place: -best[place]):
            others = alternatives(cell, place, space)
            others.sort(key=lambda other: -gains.get((place, _at(other, place).op), 0.0))
            tried = [cell, *others[: how.choices]]
            verdicts = judge(sweep, tried)
            losses = [verdict.loss for verdict in verdicts]
            over = [gain(other, cell, place, loss, losses[0]) for other, loss in zip(tried, losses, strict=True)]
            for genotype, verdict, nats in zip(tried, verdicts, over, strict=True):
                seen.setdefault(genotype.hash, ShortTraining(sweep, genotype, *verdict))
                gains[place, _at(genotype, place).op] = nats
            cell = tried[over.index(max(over))]  # of equal ones the first, which is the present one
        trainings += [*seen.values(), seen[cell.hash]._replace(kept=True)]
    return trainings


def operation_shares(found: Distributions, space: Space, images: int) -> dict[tuple[str, int, int, str], float]:
    """The share of each operation on each edge, as if every operation had had one more of so many images' votes."""
    return {
        (kind, spec.source, spec.target, op): (float(share) * images + 1) / (images + len(spec.candidates))
        for kind, nodes in found.items()
        for specs, node in zip(space.nodes(kind), nodes, strict=True)
        for spec, row in zip(specs, node.a, strict=True)
        for op, share in zip(spec.candidates, row, strict=False)
    }


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
