"""A decoded cell against cells near it, each trained briefly from scratch: what a supernet cannot tell.

In a supernet every edge holds some skip connection, so nothing in it asks whether the decoded cell, alone and deep, can
still be trained. Short trainings of whole networks do; DARTS itself trains the cells of four searches briefly and keeps the
best (arXiv 1806.09055, section 3.1). First come all cells that differ from the decoded one in one operation, then, one
round after the other, those from which the trainings so far lead one to expect most (`midas.search.posterior`). What the
search found keeps its weight: the shares that operations had in it count together with the losses, and so does the number
of weights, of which a short training sees too little. Last, the best may be trained again, longer: what is best among good
cells is decided late in a training. Every arm is refined alike.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

from midas.data.prepared import DataMeta, Split
from midas.genotype import CellGenotype, Genotype
from midas.runs import seeding
from midas.runs.checkpoint import Checkpoint
from midas.runs.progress import progress
from midas.search.brief import CPU, ShortTrainings, Verdict, short_recipe, trainer
from midas.search.capacity import shortfall
from midas.search.config import RefineConfig, SearchConfig
from midas.search.decode import Distributions, by_name
from midas.search.halves import Halves
from midas.search.posterior import expected
from midas.search.supernet import check_depth
from midas.spaces.space import Space

Judge = Callable[[Sequence[Genotype]], Sequence[Verdict]]
Shares = Mapping[tuple[str, int, int, str], float]  # type of cell, source, target and operation, to what it had
Shortfall = Callable[[Genotype], float]  # by how much a cell's networks are smaller than the largest, a logarithm

TOGETHER = 2  # cells of a round, chosen before any of them is known: so many are trained side by side on any machine


class ShortTraining(NamedTuple):
    """One of them.

    Attributes:
        round: 0: the decoded cell and its neighbours; the finals are the last one.
        genotype: the cell.
        loss: as in `Verdict`, in nats.
        accuracy: as there, in [0, 1].
        expected: the loss that all trainings together lead one to expect of the cell, in nats; in the finals its own there,
            lower because they are longer.
        counts: that and what a small network pays, in nats: by it the cells of several searches are compared.
        final: whether it is the longer one of a finalist.
        kept: whether it is the cell that was kept.
    """

    round: int
    genotype: Genotype
    loss: float
    accuracy: float
    expected: float = math.nan
    counts: float = math.nan
    final: bool = False
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

    Raises:
        ParamsError: a network so short that it does not hold every type of cell, which would then be judged unseen.
    """
    known: dict[str, tuple[float, float]] = dict((checkpoint.load() if checkpoint else None) or {})
    recipe = short_recipe(search, how, meta)
    depths, halves = how.cells or (search.cells,), Halves(train, recipe)
    for cells in depths:
        check_depth(space, cells, "search.cells" if how.cells is None else "decode.refine.cells")
    trainings = ShortTrainings(space, recipe, depths, how.epochs, halves, meta, seed, device)
    others = seeding.derive(
        seed, "refine", "finals"
    )  # weights, and an order of the images, that no finalist was chosen by
    finals = replace(trainings, epochs=how.final_epochs, seed=others)
    total = 1 + len(neighbours(start, space)) + how.trainings + how.finalists
    with progress(f"refine seed {seed}", total) as report, trainer(device) as run:

        def judge(trainings: ShortTrainings, name: str, cells: Sequence[Genotype]) -> list[Verdict]:
            new = [cell for cell in cells if name + cell.hash not in known]
            report.skip(len(cells) - len(new))
            for cell, verdict in zip(new, run(trainings, new), strict=True):
                known[name + cell.hash] = (verdict.loss, verdict.accuracy)
                if checkpoint:
                    checkpoint.save(known)
                report.step(accuracy=verdict.accuracy, loss=verdict.loss)
            return [Verdict(*known[name + cell.hash]) for cell in cells]

        judges = (partial(judge, trainings, ""), partial(judge, finals, "final "))
        small = shortfall(space, recipe.channels, depths, len(meta.classes))
        result = refine(start, shares, space, how, *judges, small)
        changed = int((_numbers([result[-1].genotype], space) != _numbers([start], space)).sum())
        report.note(f"{len(result) - 1} short trainings, {changed} operations changed")
    return result


def refine(
    start: Genotype,
    shares: Shares,
    space: Space,
    how: RefineConfig,
    judge: Judge,
    finals: Judge | None = None,
    small: Shortfall = lambda cell: 0.0,
) -> list[ShortTraining]:
    """Train `start` and its neighbours, then neighbours of what was trained, and keep the best of the cells trained.

    What counts is the loss that all trainings together lead one to expect of a cell, in nats, less `how.temperature`
    times the sum over its edges of the logarithm of the operation's share in the search: as if the shares were a prior, and
    exp(-loss / temperature) the likelihood. At 0 only short trainings count, at infinity only the search. A cell that was
    merely lucky in its own training is not expected to be so again. To it comes `how.capacity` times the logarithm by which
    its networks are smaller than the largest, which a long training would show and a short one does not. Of `how.finalists`
    cells of which most is expected, the one is kept whose loss in the finals, with what a small network pays, is lowest,
    where there are any: there the search has no say.

    Args:
        start: the decoded cell.
        shares: of the operations in the search, each above 0; empty counts them as equal.
        space: without what the search left out.
        how: how many trainings follow those of the neighbours, what the search weighs, and how many cells come to the finals.
        judge: trains cells and tests them.
        finals: the same, longer and from other weights; None leaves the finals out.
        small: how much smaller a cell's networks are than the space's largest, as a logarithm.

    Returns:
        All trainings in their order, finals last, and the one of the cell kept once more.
    """
    cells = [start, *neighbours(start, space)]
    trained = {cell.hash: ShortTraining(0, cell, *verdict) for cell, verdict in zip(cells, judge(cells), strict=True)}
    near = {n.hash: n for cell in cells[1:] for n in neighbours(cell, space)}
    total = len(trained) + how.trainings

    def outlook(asked: Sequence[Genotype]) -> tuple[list[float], Tensor]:
        """The losses to expect of cells, and what counts."""
        seen = [one.genotype for one in trained.values()]
        losses = expected(_numbers(seen, space), [one.loss for one in trained.values()], _numbers(asked, space))
        said = [how.capacity * small(cell) - how.temperature * log_share(cell, shares) for cell in asked]
        return losses.tolist(), losses + torch.tensor(said, dtype=torch.float64)

    def told(one: ShortTraining, loss: float) -> ShortTraining:
        return one._replace(expected=loss, counts=loss + how.capacity * small(one.genotype))

    for number in count(1):
        asked = [cell for key, cell in near.items() if key not in trained]
        most = min(TOGETHER, total - len(trained))
        if not asked or not most:
            break
        _, counts = outlook(asked)
        chosen = [asked[place] for place in counts.argsort(stable=True)[:most].tolist()]
        for cell, verdict in zip(chosen, judge(chosen), strict=True):
            trained[cell.hash] = ShortTraining(number, cell, *verdict)
            near |= {n.hash: n for n in neighbours(cell, space)}
    losses, counts = outlook([one.genotype for one in trained.values()])
    result = [told(one, loss) for one, loss in zip(trained.values(), losses, strict=True)]
    if not how.finalists or finals is None:
        return [*result, result[int(counts.argmin())]._replace(kept=True)]
    best = [result[place].genotype for place in counts.argsort(stable=True)[: how.finalists].tolist()]
    last = [
        told(ShortTraining(number, cell, *verdict, final=True), verdict.loss)
        for cell, verdict in zip(best, finals(best), strict=True)
    ]
    return [*result, *last, min(last, key=lambda one: one.counts)._replace(kept=True)]


def operation_shares(found: Distributions, space: Space, images: int) -> dict[tuple[str, int, int, str], float]:
    """The share of each operation on each edge, as if every operation had had one more of so many images' votes."""
    return {
        (kind, spec.source, spec.target, op): (share * images + 1) / (images + len(spec.candidates))
        for kind, nodes in found.items()
        for specs, node in zip(space.nodes(kind), nodes, strict=True)
        for spec, named in zip(specs, by_name(specs, node.a), strict=True)
        for op, share in named.items()
    }


def neighbours(genotype: Genotype, space: Space) -> list[Genotype]:
    """All cells that differ in one operation. `none` comes only where the space keeps all edges."""
    result = []
    for kind, cell in genotype.cells.items():
        for number, edge in enumerate(cell.edges):
            for op in space.candidates(kind, edge.source, edge.target):
                if op != edge.op and (op != "none" or space.keep is None):
                    edges = (*cell.edges[:number], edge._replace(op=op), *cell.edges[number + 1 :])
                    changed = {**genotype.cells, kind: CellGenotype(edges, cell.concat)}
                    result.append(Genotype(genotype.space, changed))
    return result


def log_share(genotype: Genotype, shares: Shares) -> float:
    """The logarithm of what its operations had in the search, summed over its edges."""
    if not shares:
        return 0.0
    edges = [(kind, *edge) for kind, cell in genotype.cells.items() for edge in cell.edges]
    return sum(math.log(shares[kind, source, target, op]) for kind, op, source, target in edges)


def _numbers(genotypes: Sequence[Genotype], space: Space) -> Tensor:
    """The operations of cells that have the same edges, as numbers. (cells, edges)"""
    edges = [[(kind, edge) for kind, cell in genotype.cells.items() for edge in cell.edges] for genotype in genotypes]
    return torch.tensor(
        [[space.candidates(kind, edge.source, edge.target).index(edge.op) for kind, edge in row] for row in edges]
    )
