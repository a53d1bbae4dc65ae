"""Short trainings of whole cells from scratch: the recipe, one training, and several side by side.

A training runs on one thread, and several run in processes of their own, as many as torch has threads here. So what comes
out does not depend on how many cores there are.
"""

import math
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.data.augment import Augment
from midas.data.batches import epoch_batches
from midas.data.prepared import DataMeta
from midas.genotype import Genotype
from midas.runs import precision, seeding
from midas.runs.processes import end_with_parent
from midas.runs.replay import runner
from midas.runs.transfer import send
from midas.search.arms import DiscreteArm
from midas.search.config import RefineConfig, SearchConfig
from midas.search.halves import Halves
from midas.search.monitor import decode_batches
from midas.search.supernet import Supernet
from midas.search.weights import weight_optimiser
from midas.spaces.space import Space

EVALUATION_BATCH, CPU = 250, torch.device("cpu")


class Verdict(NamedTuple):
    """What a short training came to.

    Attributes:
        loss: the mean over the batches of the last epoch, in nats; at most that of a guess, which is that of a training that
            diverged. How fast a network learns says more of where it ends than how well it does after so few epochs
            (Ru et al., Speedy Performance Estimation for Neural Architecture Search, arXiv 2006.04492).
        accuracy: on the images of the architecture half, in [0, 1].
    """

    loss: float
    accuracy: float


def short_recipe(search: SearchConfig, how: RefineConfig, meta: DataMeta) -> SearchConfig:
    """The search's recipe with the width, and the number and size of images, that short trainings take."""
    own = search.image_size or meta.size
    size = how.image_size or own
    augment, scale = search.augment, size / own
    crops = {"pad": round(augment.pad * scale)} if how.crops else {"pad": 0, "crop_scale": None}
    changed = {
        "channels": how.channels or search.channels,
        "image_size": size,
        "images": how.images or search.images,
        "augment": augment.model_copy(update={**crops, "cutout": round(augment.cutout * scale)}),
    }
    return search.model_copy(update=changed)


@dataclass(frozen=True)
class ShortTrainings:
    """Trains cells of one space by one recipe: on the weights' half, tested on the architecture half.

    Each is trained in a network of every depth in `depths` (as `search.cells`). Deep networks ask whether a cell can be
    trained at all, and in a few epochs put those first that learn fast; shallow ones ask what its operations can do.

    All cells start from the same weights, edge by edge, and see the same batches, so two that differ in one operation differ
    by little else. The learning rate falls by a cosine to its lowest; batch norm uses the statistics of each batch.
    """

    space: Space
    recipe: SearchConfig
    depths: Sequence[int]
    epochs: int
    halves: Halves
    meta: DataMeta
    seed: int
    device: torch.device = CPU

    def __call__(self, genotype: Genotype) -> Verdict:
        """Train a cell from scratch at each depth and test it: the means of loss and accuracy."""
        verdicts = [self._train(genotype, cells) for cells in self.depths]
        return Verdict(*(sum(values) / len(verdicts) for values in zip(*verdicts, strict=True)))

    def _train(self, genotype: Genotype, cells: int) -> Verdict:
        recipe, half = self.recipe, self.halves.weights
        seeding.seed_torch(self.seed, "refine", "weights")
        network = Supernet(self.space, recipe.channels, cells, len(self.meta.classes))
        network.to(self.device).to(memory_format=torch.channels_last).train()
        arm, batch = DiscreteArm(genotype.cells), min(recipe.batch_size, len(half))
        optimiser = weight_optimiser(network.parameters(), recipe)
        order, draws = seeding.derive(self.seed, "refine"), seeding.generator(self.seed, "refine", "augment")
        steps = [index for epoch in range(self.epochs) for index in epoch_batches(len(half), batch, order, epoch)]
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, len(steps), recipe.min_learning_rate)
        augment = Augment(recipe.augment, self.meta.mean, self.meta.std)

        def descend(images: Tensor, labels: Tensor) -> Tensor:
            with precision.lower(recipe.precision, self.device):
                loss = F.cross_entropy(network(images, arm)[0], labels)
            loss.backward()
            return loss.detach()

        run = runner(list(network.parameters()), self.device, recipe.cuda_graphs)
        per_epoch, last = len(steps) // self.epochs, torch.zeros((), device=self.device)  # no step waits for the device
        for step, index in enumerate(steps):
            own, labels = (send(x[index], self.device) for x in (half.images, half.labels))
            optimiser.zero_grad()
            loss = run(descend, augment(own, draws), labels)
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimiser.step()
            schedule.step()
            if step >= len(steps) - per_epoch:
                last += loss
        mean, guess = float(last) / per_epoch, math.log(len(self.meta.classes))
        return Verdict(min(mean, guess) if math.isfinite(mean) else guess, self._accuracy(network, arm))

    @torch.no_grad()
    def _accuracy(self, network: Supernet, arm: DiscreteArm) -> float:
        half = self.halves.architecture
        batches = decode_batches(half, self.meta, EVALUATION_BATCH)
        logits = torch.cat([network(images.to(self.device), arm)[0].cpu() for images in batches])
        return float((logits.argmax(1) == half.labels).float().mean())


class Trainer:
    """Runs short trainings side by side: in processes of one thread each on a CPU, one after the other on a GPU."""

    def __init__(self, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(processes, context, _alone) if processes > 1 else None

    def __call__(self, trainings: ShortTrainings, cells: Sequence[Genotype]) -> Iterator[Verdict]:
        """The verdicts on the cells in their order, each as soon as it and those before it are there."""
        if self.pool is not None:
            yield from self.pool.map(trainings, cells)
            return
        for cell in cells:
            with _one_thread():
                verdict = trainings(cell)
            yield verdict


@contextmanager
def trainer(device: torch.device) -> Iterator[Trainer]:
    """A `Trainer` with as many processes as torch has threads here; they end with it."""
    made = Trainer(torch.get_num_threads() if device.type == "cpu" else 1)
    try:
        yield made
    finally:
        if made.pool is not None:
            made.pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _alone() -> None:
    """Set up a process of the pool."""
    torch.set_num_threads(1)
    seeding.deterministic()
    end_with_parent()
