"""A decoded cell against its neighbours, each trained briefly from scratch: what a supernet's weights cannot tell.

In a supernet every edge holds some skip connection, so nothing in it asks whether the decoded cell, alone and deep, can
still be trained. Short trainings of whole networks do; DARTS itself trains the cells of four searches briefly and keeps the
best (arXiv 1806.09055, section 3.1). They are noisy and favour what learns fast, so only a decisive gain changes the cell.
Every arm is refined in the same way.
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
from midas.data.prepared import DataMeta, Split
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

Judge = Callable[[Genotype], float]  # a cell's accuracy in [0, 1] after a short training
EVALUATION_BATCH, CPU = 256, torch.device("cpu")


class ShortTraining(NamedTuple):
    """One of them: the round, the cell, its accuracy on the architecture half in [0, 1], and whether the round ended with it."""

    round: int
    genotype: Genotype
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
    """`refine` by `brief_training`; shown as it goes on, and resumed after the last training that a checkpoint holds.

    Args:
        start: the decoded cell.
        found: the search's weights.
        space: without what the search left out.
        search: the recipe of the trainings.
        how: what differs from it, and how many there are.
        train: the training images, halved as in the search.
        meta: classes and statistics of the data.
        seed: of the weights and of the order of the images.
        checkpoint: where the accuracies are kept.
        device: that computes.
    """
    known: dict[str, float] = dict((checkpoint.load() if checkpoint else None) or {})
    recipe = short_recipe(search, how, meta)
    halves = Halves(train, recipe)
    judge = brief_training(space, recipe, how.epochs, halves, meta, seed, device)
    with progress(f"refine seed {seed}", how.rounds * (1 + how.neighbours)) as report:

        def remembered(genotype: Genotype) -> float:
            if genotype.hash not in known:
                known[genotype.hash] = judge(genotype)
                if checkpoint:
                    checkpoint.save(known)
            report.step(accuracy=known[genotype.hash])
            return known[genotype.hash]

        trainings = refine(start, found, space, how, remembered, len(halves.architecture))
        cells = [start, *(training.genotype for training in trainings if training.kept)]
        changed = sum(one != other for one, other in pairwise(cells))
        report.note(f"{len(known)} short trainings, {changed} operations changed")
    return trainings


def refine(
    start: Genotype, found: Distributions, space: Space, how: RefineConfig, judge: Judge, images: int
) -> list[ShortTraining]:
    """Change one operation at a time while that helps decisively; the cell to keep is that of the last entry.

    Args:
        start: the decoded cell.
        found: the search's weights, which order the neighbours.
        space: without what the search left out.
        how: how many rounds and neighbours, and what is decisive.
        judge: trains a cell and tests it.
        images: how many images it tests on.

    Returns:
        All trainings in their order, and after those of a round the cell that it ended with once more, as `kept`.
    """
    cell, trainings = start, list[ShortTraining]()
    for number in range(1, how.rounds + 1):
        field = [cell, *neighbours(cell, found, space)[: how.neighbours]]
        seen = [ShortTraining(number, genotype, judge(genotype)) for genotype in field]
        trainings += seen
        best = max(seen, key=lambda training: training.accuracy)  # of equal ones the first, and the cell is before all
        better = decisive(best.accuracy, seen[0].accuracy, images, how.standard_errors)
        trainings.append((best if better else seen[0])._replace(kept=True))
        if not better:
            break
        cell = best.genotype
    return trainings


def decisive(one: float, other: float, images: int, errors: float) -> bool:
    """Whether an accuracy is above another by more than so many standard errors of the difference of two such shares.

    The error is that of testing on so many images; that of the training itself comes on top and is not in it.
    """
    mean = (one + other) / 2
    return one - other > errors * math.sqrt(2 * mean * (1 - mean) / images)


def short_recipe(search: SearchConfig, how: RefineConfig, meta: DataMeta) -> SearchConfig:
    """The search's recipe with the depth, the images and their size that the short trainings take."""
    own = search.size or meta.size
    size = how.size or own
    augment = search.augment.model_copy(update={"pad": round(search.augment.pad * size / own)})
    changed = {"cells": how.cells or search.cells, "size": size, "images": how.images or search.images}
    return search.model_copy(update={**changed, "augment": augment})


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
    space: Space,
    recipe: SearchConfig,
    epochs: int,
    halves: Halves,
    meta: DataMeta,
    seed: int,
    device: torch.device = CPU,
) -> Judge:
    """The judge: trains on the weights' half and tests on the architecture half.

    All cells start from the same seed and see the same batches. The learning rate falls by a cosine to its lowest within the
    training; batch norm uses the statistics of each batch.
    """

    def judge(genotype: Genotype) -> float:
        seeding.seed_torch(seed, "refine", "weights")
        network = Supernet(space, recipe.channels, recipe.cells, len(meta.classes))
        network.to(device).to(memory_format=torch.channels_last).train()
        arm, half, batch = DiscreteArm(genotype.cells), halves.weights, min(recipe.batch_size, len(halves.weights))
        optimiser = weight_optimiser(network.parameters(), recipe)
        order, draws = seeding.derive(seed, "refine"), seeding.generator(seed, "refine", "augment")
        steps = [index for epoch in range(epochs) for index in epoch_batches(len(half), batch, order, epoch)]
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, len(steps), recipe.min_learning_rate)
        augment = Augment(recipe.augment, meta.mean, meta.std)
        for index in steps:
            logits, _ = network(augment(half.images[index].to(device), draws), arm)
            optimiser.zero_grad()
            F.cross_entropy(logits, half.labels[index].to(device)).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimiser.step()
            schedule.step()
        return accuracy(network, arm, halves.architecture, meta, EVALUATION_BATCH)

    return judge
