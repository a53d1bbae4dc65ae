"""The steps of a bilevel search: each is one architecture batch, then one weight batch.

Source: DARTS of first order, arXiv 1806.09055, section 2.3 with xi = 0, as docs/method.md fixes it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.data.augment import Augment, Draws
from midas.data.batches import batch_parts, epoch_batches
from midas.data.prepared import DataMeta, Split
from midas.data.splits import split_in_halves
from midas.engine import precision, seeding
from midas.engine.cuda_graphs import GraphedStep, graphed_step, reset
from midas.engine.distributed import Distributed
from midas.engine.loop import Job, batch_sums
from midas.engine.schedule import build_scheduler
from midas.io.errors import ParamsError
from midas.search.config import SearchConfig
from midas.search.methods import Method
from midas.search.supernet import Supernet


def weight_optimiser(weights: Iterable[nn.Parameter], config: SearchConfig) -> torch.optim.SGD:
    """SGD at the search's largest learning rate; on a GPU one kernel."""
    parameters = list(weights)
    fused = all(parameter.is_cuda for parameter in parameters)
    optimiser = torch.optim.SGD(
        parameters,
        config.learning_rate,
        config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=fused or None,
    )
    if fused and config.momentum:
        # the kernel wants all momenta or none, and a method that draws leaves weights out of a step
        for parameter in parameters:
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def arch_optimiser(
    architecture: Sequence[nn.Parameter], config: SearchConfig, decays: bool
) -> torch.optim.Adam:
    """Adam for a method's parameters; weight decay acts on them where the method says so."""
    return torch.optim.Adam(
        architecture,
        config.arch_learning_rate,
        betas=(0.5, 0.999),
        weight_decay=config.arch_weight_decay if decays else 0.0,
        fused=all(parameter.is_cuda for parameter in architecture) or None,
    )


CHUNK = 1024  # images that are scaled at a time: all at full size may be too much memory
Monitor = Callable[[Supernet, Method, Split], dict[str, Any]]  # columns of an epoch's row
Batch = list[tuple[Tensor, Tensor]]  # images [b, 3, H, W] and labels [b] of each part


class BilevelSplit:
    """A stratified half of the images for the weights, one for the architecture, as for all seeds.

    `config` may use fewer images, averaged down to `image_size`; ParamsError for smaller ones.
    """

    def __init__(self, train: Split, config: SearchConfig) -> None:
        first, second = split_in_halves(train.labels, seeding.derive(0, "halves"))
        size = train.images.shape[-1]
        if config.image_size is not None and config.image_size > size:
            raise ParamsError(
                f"image_size: {config.image_size} is more than the {size} pixels of these images; "
                "null keeps theirs"
            )
        self.weights = _take(train, first, config)
        self.architecture = _take(train, second, config)
        smaller = min(len(self.weights), len(self.architecture))
        self.steps_per_epoch = max(1, smaller // config.batch_size)


def _take(train: Split, half: Tensor, config: SearchConfig) -> Split:
    """The images of a half, in an order drawn once."""
    order = torch.randperm(len(half), generator=seeding.generator(0, "order"))
    limit = None if config.images is None else max(1, config.images // 2)
    index = half[order][:limit]
    size = config.image_size
    chunks = [_average_down(train.images[chunk], size) for chunk in torch.split(index, CHUNK)]
    return Split(torch.cat(chunks), train.labels[index])


def _average_down(images: Tensor, size: int | None) -> Tensor:
    if size is None or size == images.shape[-1]:
        return images
    averaged = F.adaptive_avg_pool2d(images.float(), size).round().to(torch.uint8)
    return averaged.contiguous(memory_format=torch.channels_last)


@dataclass(eq=False)
class BilevelSearch(Job):
    """The `Job` of a search: two optimisers that take turns. Arguments as in `run_search`."""

    supernet: Supernet
    method: Method
    config: SearchConfig
    split: BilevelSplit
    meta: DataMeta
    seed: int
    distributed: Distributed
    monitor: Monitor | None = None

    def __post_init__(self) -> None:
        config = self.config
        method = self.method
        self.title = f"search seed {self.seed}"
        self.advice = f"lower search.learning_rate ({config.learning_rate})"
        self.steps_per_epoch = self.split.steps_per_epoch
        self.total_parts = self.distributed.size * config.accumulate  # of a batch
        self._check_parts()
        self.augment = Augment(config.augment, self.meta.mean, self.meta.std)
        self.weights = list(self.supernet.parameters())
        self.architecture = list(method.parameters())
        self.weight_optimiser = weight_optimiser(self.weights, config)
        self.arch_optimiser: torch.optim.Optimizer | None = None
        self.stateful: dict[str, Any] = {
            "supernet": self.supernet,
            "method": method,
            "weight_optimiser": self.weight_optimiser,
        }
        if self.architecture:  # random search has none
            self.arch_optimiser = arch_optimiser(self.architecture, config, method.decays)
            self.stateful["arch_optimiser"] = self.arch_optimiser
        steps = config.epochs * self.steps_per_epoch
        self.scheduler = build_scheduler(self.weight_optimiser, steps, config.min_learning_rate)
        can_capture = config.cuda_graphs and method.repeats and config.accumulate == 1
        self.weight_pass = graphed_step(self.weights, self.distributed.device, can_capture)
        self.arch_pass = graphed_step(self.architecture, self.distributed.device, can_capture)
        self.generator = torch.Generator()
        self.random_states: list[Tensor] = []  # of torch's generators at a restored checkpoint

    def begin_epoch(self, epoch: int, step: int) -> None:
        """The learning rate stays the same within an epoch, as in DARTS."""
        self.scheduler.step_update(epoch * self.steps_per_epoch)
        self.supernet.train()
        self.method.train()
        self.method.set_progress(epoch, self.config.epochs)
        reset(self.arch_pass)  # a method's penalty may grow with the progress
        self.weight_batches = self._epoch_batches(self.split.weights, "weights", epoch)
        self.arch_batches = self._epoch_batches(self.split.architecture, "architecture", epoch)
        self.generator = seeding.generator(self.seed, "search", "augment", epoch)
        seeding.seed_torch(self.seed, "search", epoch)  # `noise` and methods draw from here
        for done in range(step):  # repeat the draws of the steps that an earlier run has made
            self._draw(self.split.weights, self.weight_batches[done])
            if self.architecture and epoch >= self.config.warmup_epochs:
                self._draw(self.split.architecture, self.arch_batches[done])
        if step and self.random_states:  # `noise` and methods have drawn, too
            seeding.restore_random_states(self.random_states, self.distributed.device)
        self.random_states = []

    def step(self, epoch: int, step: int) -> Tensor:
        """Loss times images, hits, images; of the weights' half, then of the other."""
        batch = self._batch_parts(self.split.weights, self.weight_batches[step])
        arch_sums = torch.zeros(3, device=self.distributed.device)
        if self.arch_optimiser is not None and epoch >= self.config.warmup_epochs:
            held_out = self._batch_parts(self.split.architecture, self.arch_batches[step])
            arch_sums = self._backward(held_out, self.method, self.supernet, self.arch_pass)
            self.arch_optimiser.step()
        sums = self._backward(batch, self.supernet, self.method, self.weight_pass)
        nn.utils.clip_grad_norm_(self.weights, self.config.clip)
        self.weight_optimiser.step()  # a weight whose candidate was not drawn stays
        return torch.cat([sums, arch_sums])

    def end_epoch(self, epoch: int, sums: Tensor) -> dict[str, Any]:
        """The architecture's columns are None where it did not learn."""
        loss, hits, images, arch_loss, arch_hits, arch_images = sums.tolist()
        row = {
            "epoch": epoch + 1,
            "step": (epoch + 1) * self.steps_per_epoch,
            "learning_rate": round(self.weight_optimiser.param_groups[0]["lr"], 8),
            "weight_loss": round(loss / images, 6),
            "weight_accuracy": round(hits / images, 6),
            "arch_loss": round(arch_loss / arch_images, 6) if arch_images else None,
            "arch_accuracy": round(arch_hits / arch_images, 6) if arch_images else None,
        }
        if self.monitor is None:
            return row
        return row | self.monitor(self.supernet, self.method, self.split.architecture)

    def describe(self, row: dict[str, Any]) -> str:
        held_out = "weights alone"
        if row["arch_accuracy"] is not None:
            held_out = f"held-out {row['arch_accuracy']:.3f}"
        text = f"loss {row['weight_loss']:.3f} accuracy {row['weight_accuracy']:.3f} | {held_out}"
        if "skips" not in row:
            return text
        gap = row["supernet_accuracy"] - row["subnetwork_accuracy"]
        return f"{text} | skips {row['skips']} margin {row['margin']:.4f} gap {gap:.3f}"

    def state(self) -> dict[str, Any]:
        states = {name: part.state_dict() for name, part in self.stateful.items()}
        return states | {"random_states": seeding.random_states(self.distributed.device)}

    def restore(self, state: dict[str, Any]) -> None:
        for name, part in self.stateful.items():
            part.load_state_dict(state[name])
        self.random_states = state["random_states"]

    def _check_parts(self) -> None:
        total = self.total_parts
        for half in (self.split.weights, self.split.architecture):
            batch = self._batch(half)
            if batch % total or batch // total < 2:
                raise ParamsError(
                    f"search.batch_size: {batch} cannot be divided into {total} equal parts of 2 "
                    "or more"
                )

    def _batch(self, half: Split) -> int:
        return min(self.config.batch_size, len(half))

    def _epoch_batches(self, half: Split, name: str, epoch: int) -> list[Tensor]:
        seed = seeding.derive(self.seed, name)
        return epoch_batches(len(half), self._batch(half), seed, epoch)

    def _draw(self, half: Split, index: Tensor) -> Draws:
        return self.augment.draw((len(index), *half.images.shape[1:]), self.generator)

    def _batch_parts(self, half: Split, index: Tensor) -> Batch:
        places = self.distributed.parts(len(index), self.config.accumulate)
        draws = self._draw(half, index)
        weight = self.weights[0]
        parts = batch_parts(half, index, self.augment, draws, places, weight.device)
        return [(images.to(weight.dtype), labels) for _, images, labels in parts]

    def _backward(
        self, batch: Batch, learner: nn.Module, fixed: nn.Module, run: GraphedStep
    ) -> Tensor:
        """Leave the batch's gradient, over all processes, on the learner. Returns own sums, [3]."""
        learner.requires_grad_(True).zero_grad()
        fixed.requires_grad_(False)
        sums = torch.stack([run(self._pass, images, labels) for images, labels in batch]).sum(0)
        gradients = [p.grad for p in learner.parameters() if p.grad is not None]
        self.distributed.all_reduce_mean(gradients)
        return sums

    def _pass(self, images: Tensor, labels: Tensor) -> Tensor:
        """Add a part's share of the batch's gradient to the learner's. Returns own sums, [3]."""
        penalty = self.method.penalty()  # without a gradient where the weights learn
        with precision.lower(self.config.precision, self.distributed.device):
            logits, _ = self.supernet(images, self.method)
            loss = F.cross_entropy(logits, labels)
        total = loss if penalty is None else loss + penalty
        (total / self.config.accumulate).backward()
        return batch_sums(loss, logits, labels)
