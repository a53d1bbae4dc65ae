"""A decoded cell against its neighbours, each trained briefly from scratch: what a supernet's weights cannot tell.

In a supernet every edge holds some skip connection, so nothing in it asks whether the decoded cell, alone and deep, can
still be trained. Short trainings of whole networks do; DARTS itself trains the cells of four searches briefly and keeps the
best (arXiv 1806.09055, section 3.1). Every arm is refined in the same way.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from midas.data.augment import Augment
from midas.data.batches import epoch_batches
from midas.data.prepared import DataMeta
from midas.genotype import CellGenotype, Genotype
from midas.runs import seeding
from midas.runs.checkpoint import Checkpoint
from midas.runs.progress import progress
from midas.search.arms import DiscreteArm
from midas.search.config import RefineConfig, SearchConfig
from midas.search.decode import Distributions
from midas.search.halves import Halves
from midas.search.monitor import accuracy
from midas.search.supernet import Supernet
from midas.search.weights import weight_optimiser
from midas.spaces.space import Space

Judge = Callable[[Genotype, int], float]  # a cell's accuracy after a training of so many epochs
EVALUATION_BATCH = 256


class Heat(NamedTuple):
    """One short training: the round, its epochs, the cell, its accuracy on the architecture half in [0, 1], and whether
    the round ended with this cell.
    """

    round: int
    epochs: int
    genotype: Genotype
    accuracy: float
    kept: bool = False


def refined(
    start: Genotype,
    found: Distributions,
    space: Space,
    search: SearchConfig,
    how: RefineConfig,
    halves: Halves,
    meta: DataMeta,
    seed: int,
    checkpoint: Checkpoint | None = None,
) -> list[Heat]:
    """`refine` by `brief_training`; shown as it goes on, and resumed after the last training that a checkpoint holds.

    Args:
        start: the decoded cell.
        found: the search's weights.
        space: without what the search left out.
        search: the recipe of the trainings.
        how: how many of them.
        halves: the images: one half trains, one judges.
        meta: classes and statistics of the data.
        seed: of the weights and of the order of the images.
        checkpoint: where the accuracies are kept.
    """
    known: dict[str, float] = dict((checkpoint.load() if checkpoint else None) or {})
    train = brief_training(space, search, how, halves, meta, seed)
    with progress(f"refine seed {seed}", how.rounds * _trainings(how)) as report:

        def judge(genotype: Genotype, epochs: int) -> float:
            key = f"{epochs} {genotype.hash}"
            if key not in known:
                known[key] = train(genotype, epochs)
                if checkpoint:
                    checkpoint.save(known)
            report.step(accuracy=known[key])
            return known[key]

        heats = refine(start, found, space, how, judge)
        cells = [start, *(heat.genotype for heat in heats if heat.kept)]
        changed = sum(one != other for one, other in pairwise(cells))
        report.note(f"{len(known)} short trainings, {changed} of {how.rounds} rounds changed the cell")
    return heats


def _trainings(how: RefineConfig) -> int:
    """The most trainings of a round."""
    return 1 + how.neighbours + how.finalists * (len(how.epochs) - 1)


def refine(start: Genotype, found: Distributions, space: Space, how: RefineConfig, judge: Judge) -> list[Heat]:
    """Change one operation at a time while that helps; the cell to keep is that of the last entry.

    In each round the cell and its neighbours are trained for the epochs of the first heat; the best of them, and the cell
    itself, for those of the next. A neighbour that ends above the cell takes its place; else the cell is kept.

    Args:
        start: the decoded cell.
        found: the search's weights, which order the neighbours.
        space: without what the search left out.
        how: how many rounds, neighbours and epochs.
        judge: trains a cell for some epochs.

    Returns:
        All trainings in their order, and after those of a round its best once more, as `kept`.
    """
    cell, heats = start, list[Heat]()
    for number in range(1, how.rounds + 1):
        field = [cell, *neighbours(cell, found, space)[: how.neighbours]]
        for epochs in how.epochs:
            seen = [Heat(number, epochs, g, judge(g, epochs)) for g in field]
            heats += seen
            best = sorted(seen, key=lambda heat: -heat.accuracy)  # ties keep the order of the field, the cell first
            field = [cell, *(heat.genotype for heat in best if heat.genotype != cell)][: how.finalists]
        heats.append(best[0]._replace(kept=True))
        if best[0].genotype == cell:
            break
        cell = best[0].genotype
    return heats


def neighbours(genotype: Genotype, found: Distributions, space: Space) -> list[Genotype]:
    """All cells that differ in one operation, those first for which the search's weights speak most."""
    ranked = list[tuple[float, int, Genotype]]()
    for kind, cell in genotype.cells.items():
        weights = _weights(found, space, kind)
        for place, edge in enumerate(cell.edges):
            here = weights[edge.source, edge.target]
            for op, weight in here.items():
                if op == edge.op or (op == "none" and space.keep is not None):
                    continue
                edges = (*cell.edges[:place], edge._replace(op=op), *cell.edges[place + 1 :])
                changed = {**genotype.cells, kind: CellGenotype(edges, cell.concat)}
                loss = math.log(max(here[edge.op], 1e-12)) - math.log(max(weight, 1e-12))
                ranked.append((loss, len(ranked), Genotype(genotype.space, changed)))
    return [neighbour for _, _, neighbour in sorted(ranked, key=lambda entry: entry[:2])]


def _weights(found: Distributions, space: Space, kind: str) -> dict[tuple[int, int], dict[str, float]]:
    """Each edge's operations with their weights."""
    return {
        (edge.source, edge.target): {op: float(w) for op, w in zip(edge.candidates, row, strict=False)}
        for specs, node in zip(space.nodes(kind), found[kind], strict=True)
        for edge, row in zip(specs, node.a, strict=True)
    }


def brief_training(
    space: Space, search: SearchConfig, how: RefineConfig, halves: Halves, meta: DataMeta, seed: int
) -> Judge:
    """The judge: trains on the weights' half by the search's own recipe, and tests on the architecture half.

    All cells start from the same seed and see the same batches. The learning rate falls by a cosine to its lowest within the
    training; batch norm uses the statistics of each batch.
    """

    def judge(genotype: Genotype, epochs: int) -> float:
        seeding.seed_torch(seed, "refine", "weights")
        network = Supernet(space, search.channels, how.cells or search.cells, len(meta.classes))
        network.to(memory_format=torch.channels_last).train()
        arm, half, batch = DiscreteArm(genotype.cells), halves.weights, min(search.batch_size, len(halves.weights))
        optimiser = weight_optimiser(network.parameters(), search)
        order, draws = seeding.derive(seed, "refine"), seeding.generator(seed, "refine", "augment")
        steps = [index for epoch in range(epochs) for index in epoch_batches(len(half), batch, order, epoch)]
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, len(steps), search.min_learning_rate)
        augment = Augment(search.augment, meta.mean, meta.std)
        for index in steps:
            logits, _ = network(augment(half.images[index], draws), arm)
            optimiser.zero_grad()
            F.cross_entropy(logits, half.labels[index]).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), search.clip)
            optimiser.step()
            schedule.step()
        return accuracy(network, arm, halves.architecture, meta, EVALUATION_BATCH)

    return judge
