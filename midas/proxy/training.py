"""Proxy trainings: short trainings of whole cells from scratch, several side by side.

A training runs on one thread, so its result does not depend on the number of cores.
"""

import math
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.data.augment import Augment
from midas.data.batches import epoch_batches
from midas.data.prepared import DataMeta
from midas.decode.monitor import accuracy
from midas.engine import loop, precision, seeding
from midas.engine.cuda_graphs import graphed_step
from midas.engine.distributed import Distributed, end_with_parent, send
from midas.engine.schedule import build_scheduler
from midas.genotype import Genotype
from midas.io.errors import TrainingDiverged
from midas.proxy.config import ProxyConfig
from midas.search.bilevel import BilevelSplit, weight_optimiser
from midas.search.config import SearchConfig
from midas.search.methods import FixedCell
from midas.search.supernet import Supernet
from midas.spaces.space import Space

EVALUATION_BATCH = 250
CPU = torch.device("cpu")


class ProxyScore(NamedTuple):
    """The result of a proxy training.

    How fast a network learns says more about its final accuracy than its accuracy after so few
    epochs (Ru et al., Speedy Performance Estimation for Neural Architecture Search, arXiv
    2006.04492).
    """

    loss: float  # mean over the batches of the last epoch, in nats, at most that of a guess
    accuracy: float  # on the images of the architecture half, in [0, 1]


def proxy_recipe(search: SearchConfig, proxy: ProxyConfig, meta: DataMeta) -> SearchConfig:
    """The search's recipe with the width and the images of proxy trainings."""
    search_size = search.image_size or meta.size
    size = proxy.image_size or search_size
    scale = size / search_size
    augment: dict[str, int | None] = {"cutout": round(search.augment.cutout * scale)}
    if proxy.crops:
        augment["pad"] = round(search.augment.pad * scale)
    else:
        augment |= {"pad": 0, "crop_scale": None}
    changes = {
        "channels": proxy.channels or search.channels,
        "image_size": size,
        "images": proxy.images or search.images,
        "augment": search.augment.model_copy(update=augment),
    }
    return search.model_copy(update=changes)


@dataclass(frozen=True)
class ProxyTraining:
    """Trains cells on the weights' half, from the same weights and batches; tests on the other.

    Each cell is trained in a network of every depth in `depths` (as `search.cells`). Deep networks
    ask whether a cell can be trained at all, and in a few epochs rank cells that learn fast first;
    shallow ones ask what its operations can do. Batch norm uses the statistics of each batch.
    """

    space: Space
    recipe: SearchConfig
    depths: Sequence[int]
    epochs: int
    split: BilevelSplit
    meta: DataMeta
    seed: int
    device: torch.device = CPU

    def __call__(self, genotype: Genotype) -> ProxyScore:
        """Train a cell from scratch at each depth and test it: the means of loss and accuracy."""
        scores = [self._train(genotype, cells) for cells in self.depths]
        return ProxyScore(*(sum(values) / len(scores) for values in zip(*scores, strict=True)))

    def _train(self, genotype: Genotype, cells: int) -> ProxyScore:
        job = _CellTraining(self, genotype, cells)
        loss = math.log(len(self.meta.classes))  # of a guess; a cell that diverges is as bad
        with suppress(TrainingDiverged):
            finished = loop.run(job, self.epochs, None, Distributed(device=self.device), quiet=True)
            loss = min(loss, finished.history[-1]["loss"])
        half = self.split.architecture
        return ProxyScore(loss, accuracy(job.network, job.cell, half, self.meta, EVALUATION_BATCH))


class _CellTraining(loop.Job):
    """A cell in a network of one depth; so short a training keeps no checkpoint."""

    title = "proxy training"

    def __init__(self, proxy: ProxyTraining, genotype: Genotype, cells: int) -> None:
        recipe = proxy.recipe
        self.proxy = proxy
        self.images = proxy.split.weights
        seeding.seed_torch(proxy.seed, "refine", "weights")  # the label is part of recorded losses
        self.network = Supernet(proxy.space, recipe.channels, cells, len(proxy.meta.classes))
        self.network.to(proxy.device).to(memory_format=torch.channels_last)
        self.cell = FixedCell(genotype.cells)
        self.optimiser = weight_optimiser(self.network.parameters(), recipe)
        self.generator = seeding.generator(proxy.seed, "refine", "augment")
        self.augment = Augment(recipe.augment, proxy.meta.mean, proxy.meta.std)
        self.batches = self._batches(0)
        self.steps_per_epoch = len(self.batches)
        steps = proxy.epochs * self.steps_per_epoch
        self.scheduler = build_scheduler(self.optimiser, steps, recipe.min_learning_rate)
        self.weights = list(self.network.parameters())
        self.run_pass = graphed_step(self.weights, proxy.device, recipe.cuda_graphs)

    def begin_epoch(self, epoch: int, step: int) -> None:
        self.network.train()
        self.batches = self._batches(epoch)

    def step(self, epoch: int, step: int) -> Tensor:
        self.scheduler.step_update(epoch * self.steps_per_epoch + step)
        index = self.batches[step]
        images = send(self.images.images[index], self.proxy.device)
        labels = send(self.images.labels[index], self.proxy.device)
        self.optimiser.zero_grad()
        sums = self.run_pass(self._pass, self.augment(images, self.generator), labels)
        nn.utils.clip_grad_norm_(self.weights, self.proxy.recipe.clip)
        self.optimiser.step()
        return sums

    def _batches(self, epoch: int) -> list[Tensor]:
        size = min(self.proxy.recipe.batch_size, len(self.images))
        order = seeding.derive(self.proxy.seed, "refine")
        return epoch_batches(len(self.images), size, order, epoch)

    def _pass(self, images: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradient on the weights; the batch's sums, [3]."""
        with precision.lower(self.proxy.recipe.precision, self.proxy.device):
            logits, _ = self.network(images, self.cell)
            loss = F.cross_entropy(logits, labels)
        loss.backward()
        return loop.batch_sums(loss, logits, labels)


class ParallelTrainings:
    """Runs proxy trainings in processes of one thread each, or one after the other in this one."""

    def __init__(self, processes: int) -> None:
        self.executor = None
        if processes > 1:
            context = multiprocessing.get_context("spawn")
            self.executor = ProcessPoolExecutor(processes, context, _start_worker)

    def __call__(self, training: ProxyTraining, cells: Sequence[Genotype]) -> Iterator[ProxyScore]:
        """The scores of the cells in their order, each as soon as it is known."""
        if self.executor is not None:
            yield from self.executor.map(training, cells)
            return
        threads = torch.get_num_threads()
        for cell in cells:
            torch.set_num_threads(1)
            try:
                score = training(cell)
            finally:
                torch.set_num_threads(threads)
            yield score

    def close(self) -> None:
        """End the processes, and start no training that waits for one."""
        if self.executor is not None:
            self.executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    torch.set_num_threads(1)
    seeding.deterministic()
    end_with_parent()
