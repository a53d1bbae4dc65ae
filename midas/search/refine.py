"""A decoded cell, edge by edge against its alternatives, each trained briefly from scratch: what a supernet cannot tell.

In a supernet every edge holds some skip connection, so nothing in it asks whether the decoded cell, alone and deep, can
still be trained. Short trainings of whole networks do; DARTS itself trains the cells of four searches briefly and keeps the
best (arXiv 1806.09055, section 3.1). The search proposes the cell where the changes start. Every arm is refined in the same way.
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
from midas.search.decode import Distributions
from midas.search.halves import Halves
from midas.spaces.space import Space

Judge = Callable[
    [int, Sequence[Genotype]], Sequence[Verdict]
]  # the round's number and cells, to short trainings of them
Place = tuple[str, int]  # the type of cell, and which of its edges


class ShortTraining(NamedTuple):
    """One of them: the round, the cell, its loss in nats and accuracy in [0, 1], and whether the round ended with it."""

    round: int
    genotype: Genotype
    loss: float
    accuracy: float
    kept: bool = False


def refined(
    start: Genotype,
    found: Distributions,
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
        found: the search's weights.
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
    rounds = []
    for part in how.rounds:
        recipe = short_recipe(search, how, part, meta)
        rounds.append(ShortTrainings(space, recipe, how.epochs, Halves(train, recipe), meta, seed, device))
    most = sum(
        1 + len(alternatives(start, place, space)[: part.choices]) for part in how.rounds for place in places(start)
    )
    with progress(f"refine seed {seed}", most) as report, trainer(device) as run:

        def judge(number: int, cells: Sequence[Genotype]) -> list[Verdict]:
            new = [cell for cell in cells if _key(rounds[number], cell) not in known]
            for cell, verdict in zip(new, run(rounds[number], new), strict=True):
                known[_key(rounds[number], cell)] = (verdict.losses, verdict.accuracy)
                if checkpoint:
                    checkpoint.save(known)
                report.step(accuracy=verdict.accuracy, loss=verdict.loss)
            return [Verdict(*known[_key(rounds[number], cell)]) for cell in cells]

        trainings = refine(start, found, space, how, judge)
        cells = [start, *(training.genotype for training in trainings if training.kept)]
        changed = sum(len(set(_edges(one)) - set(_edges(other))) for one, other in pairwise(cells))
        report.note(f"{len(known)} short trainings, {changed} operations changed")
    return trainings


def refine(start: Genotype, found: Distributions, space: Space, how: RefineConfig, judge: Judge) -> list[ShortTraining]:
    """Go over the edges of a cell, in each round once, and give each the operation that is decisively best there.

    The edges that the output reads come first: what an edge should hold depends on whether there is a way past it.

    Args:
        start: the decoded cell.
        found: the search's weights, by which the first round chooses among many alternatives.
        space: without what the search left out.
        how: the rounds, and what is decisive.
        judge: trains cells and tests them.

    Returns:
        All trainings in their order, and after those of a round the cell that it ended with once more, as `kept`.
    """
    cell, trainings = start, list[ShortTraining]()
    lost = {
        (place, op): _loss_of(found, space, cell, place, op)
        for place in places(cell)
        for op in _ops(space, cell, place)
    }
    for number, part in enumerate(how.rounds):
        seen = dict[str, ShortTraining]()
        for place in reversed(places(cell)):
            others = sorted(alternatives(cell, place, space), key=lambda other: lost[place, _at(other, place).op])
            field = [cell, *others[: part.choices]]
            verdicts = judge(number, field)
            for genotype, verdict in zip(field, verdicts, strict=True):
                seen.setdefault(genotype.hash, ShortTraining(number + 1, genotype, verdict.loss, verdict.accuracy))
                lost[place, _at(genotype, place).op] = verdict.loss - verdicts[0].loss
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


def _key(trainings: ShortTrainings, genotype: Genotype) -> str:
    return f"{trainings.recipe.images} {genotype.hash}"  # rounds differ in nothing else


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


def _weights(found: Distributions, space: Space, genotype: Genotype, place: Place) -> dict[str, float]:
    """The search's weights of the operations on an edge."""
    edge = _at(genotype, place)
    for specs, node in zip(space.nodes(place[0]), found[place[0]], strict=True):
        for spec, row in zip(specs, node.a, strict=True):
            if (spec.source, spec.target) == (edge.source, edge.target):
                return {op: float(weight) for op, weight in zip(spec.candidates, row, strict=False)}
    raise ValueError(f"the space has no edge {edge.source} to {edge.target}")


def _loss_of(found: Distributions, space: Space, genotype: Genotype, place: Place, op: str) -> float:
    """What stands for a loss before anything was trained: minus the search's weight."""
    return -_weights(found, space, genotype, place)[op]
