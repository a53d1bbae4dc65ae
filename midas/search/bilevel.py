"""The bilevel loop, first order: each step one architecture batch, then one weight batch.

Source: DARTS, arXiv 1806.09055, section 2.3 with xi = 0, as METHOD.md section 2 fixes it.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.data.augment import Augment, normalise
from midas.data.batches import epoch_batches, sequential_batches
from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.runs import seeding
from midas.runs.checkpoint import Checkpoint
from midas.runs.errors import TrainingDiverged
from midas.runs.progress import Reporter, progress
from midas.search.arms import Arm, DartsArm, DiscreteArm, MidasArm, build_arm
from midas.search.config import SearchConfig
from midas.search.decode import Distributions, decode, distributions
from midas.search.halves import Halves
from midas.search.supernet import Supernet
from midas.spaces.space import Space


class SearchResult(NamedTuple):
    """What a search leaves: its weights and its history, one row an epoch."""

    supernet: Supernet
    arm: MidasArm | DartsArm
    history: list[dict[str, Any]]


def build_search(
    space: Space, config: SearchConfig, num_classes: int, seed: int
) -> tuple[Supernet, MidasArm | DartsArm]:
    """A fresh supernet and arm whose initial weights follow from the seed."""
    seeding.seed_torch(seed, "search", "weights")
    supernet = Supernet(space, config.channels, config.cells, num_classes)
    supernet.to(memory_format=torch.channels_last)
    seeding.seed_torch(seed, "search", "arm")
    return supernet, build_arm(space, supernet.sites, config)


def run_search(
    space: Space, config: SearchConfig, train: Split, meta: DataMeta, seed: int, checkpoint: Checkpoint | None = None
) -> SearchResult:
    """Search one seed.

    Args:
        space: what may be found; `config.exclude` is taken out of it here.
        config: the arm and its hyper-parameters.
        train: the training images; half of them train the weights, half the architecture.
        meta: classes and normalisation statistics of the data.
        seed: everything random follows from it.
        checkpoint: where the state is kept after each epoch; a run that finds one there goes on from it.

    Raises:
        TrainingDiverged: a loss is not a number; the checkpoint holds the last good epoch.
    """
    space = space.without(config.exclude)
    supernet, arm = build_search(space, config, len(meta.classes), seed)
    engine = _Engine(space, supernet, arm, config, Halves(train, config), meta, seed)
    first, history = engine.restore(checkpoint.load() if checkpoint else None)
    steps = engine.steps_per_epoch
    with progress(f"search seed {seed}", config.epochs * steps, first * steps) as report:
        for epoch in range(first, config.epochs):
            row = engine.epoch(epoch, report)
            history.append(row)
            if checkpoint:
                checkpoint.save(engine.state(history))
            report.note(
                f"epoch {epoch + 1}/{config.epochs} loss {row['weight_loss']:.3f} accuracy {row['weight_accuracy']:.3f} | "
                f"held-out {row['arch_accuracy']:.3f} | skips {row['skips']} margin {row['margin']:.4f}"
            )
    return SearchResult(supernet, arm, history)


class _Engine:
    """The two optimisers and one epoch of their alternation."""

    def __init__(
        self,
        space: Space,
        supernet: Supernet,
        arm: MidasArm | DartsArm,
        config: SearchConfig,
        halves: Halves,
        meta: DataMeta,
        seed: int,
    ) -> None:
        self.space, self.supernet, self.arm, self.config = space, supernet, arm, config
        self.halves, self.meta, self.seed = halves, meta, seed
        self.augment = Augment(config.augment, meta.mean, meta.std)
        self.weights, self.architecture = list(supernet.parameters()), list(arm.parameters())
        self.weight_optimiser = torch.optim.SGD(
            self.weights,
            config.learning_rate,
            config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
        )
        self.arch_optimiser = torch.optim.Adam(
            self.architecture, config.arch_learning_rate, betas=(0.5, 0.999), weight_decay=config.arch_weight_decay
        )
        self.steps_per_epoch = halves.steps_per_epoch

    def epoch(self, epoch: int, report: Reporter) -> dict[str, Any]:
        """One pass over both halves; returns the history row."""
        self._set_learning_rate(epoch)
        self.supernet.train()
        seeding.seed_torch(self.seed, "search", epoch)  # `noise` draws from here
        draws = seeding.generator(self.seed, "search", "augment", epoch)
        orders = [
            epoch_batches(len(half), self._batch(half), seeding.derive(self.seed, name), epoch)
            for name, half in (("weights", self.halves.weights), ("architecture", self.halves.architecture))
        ]
        sums = torch.zeros(4)
        for step in range(self.steps_per_epoch):
            arch_loss = torch.zeros(())
            if epoch >= self.config.warmup_epochs:
                arch_loss, arch_hits = self._architecture_step(
                    self._images(self.halves.architecture, orders[1][step], draws)
                )
                sums += torch.stack([torch.zeros(()), torch.zeros(()), arch_loss, arch_hits])
            loss, hits = self._weight_step(self._images(self.halves.weights, orders[0][step], draws))
            if not math.isfinite(loss.item() + arch_loss.item()):
                raise TrainingDiverged(
                    f"search seed {self.seed}: the loss is not a number at epoch {epoch + 1}, step {step + 1}; the checkpoint of "
                    f"epoch {epoch} is kept; lower search.learning_rate ({self.config.learning_rate})"
                )
            sums += torch.stack([loss, hits, torch.zeros(()), torch.zeros(())])
            report.step(loss=loss.item(), accuracy=hits.item())
        steps = (epoch + 1) * self.steps_per_epoch
        return {"epoch": epoch + 1, "step": steps, **self._means(sums / self.steps_per_epoch), **self._monitor()}

    def _architecture_step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Adam on the arm alone; the weights' gradients are never computed."""
        loss, hits = self._backward(batch, learning=self.arm, fixed=self.supernet)
        self.arch_optimiser.step()
        return loss, hits

    def _weight_step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """SGD on the weights alone."""
        loss, hits = self._backward(batch, learning=self.supernet, fixed=self.arm)
        nn.utils.clip_grad_norm_(self.weights, self.config.clip)
        self.weight_optimiser.step()
        return loss, hits

    def _backward(self, batch: tuple[Tensor, Tensor], learning: nn.Module, fixed: nn.Module) -> tuple[Tensor, Tensor]:
        """Gradients of one half of the parameters; returns the loss and the share of images classified correctly."""
        learning.requires_grad_(True).zero_grad()
        fixed.requires_grad_(False)
        images, labels = batch
        logits, _ = self.supernet(images, self.arm)
        loss = F.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), (logits.detach().argmax(1) == labels).float().mean()

    def _images(self, half: Split, index: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.augment(half.images[index], draws), half.labels[index]

    def _batch(self, half: Split) -> int:
        return min(self.config.batch_size, len(half))

    def _set_learning_rate(self, epoch: int) -> None:
        """Cosine over the epochs, from the largest to the smallest rate."""
        config = self.config
        span = config.learning_rate - config.min_learning_rate
        rate = config.min_learning_rate + span * (1 + math.cos(math.pi * epoch / config.epochs)) / 2
        for group in self.weight_optimiser.param_groups:
            group["lr"] = rate

    def _means(self, means: Tensor) -> dict[str, float]:
        names = ("weight_loss", "weight_accuracy", "arch_loss", "arch_accuracy")
        row = {name: round(value, 6) for name, value in zip(names, means.tolist(), strict=True)}
        return {"learning_rate": round(self.weight_optimiser.param_groups[0]["lr"], 8), **row}

    def _monitor(self) -> dict[str, Any]:
        """How the cell would be decoded now, so that a collapse is seen while it happens."""
        sample = monitor_sample(self.halves.architecture, self.config)
        found = distributions(self.supernet, self.arm, decode_batches(sample, self.meta, self.config.batch_size))
        genotype = decode(found, self.space)
        return {**indicators(found, genotype), "genotype": genotype.hash[:12]}

    def state(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        """Everything that the next epoch depends on; no generator is among it, since draws follow from seed and epoch."""
        return {
            "supernet": self.supernet.state_dict(),
            "arm": self.arm.state_dict(),
            "weight_optimiser": self.weight_optimiser.state_dict(),
            "arch_optimiser": self.arch_optimiser.state_dict(),
            "history": history,
        }

    def restore(self, state: dict[str, Any] | None) -> tuple[int, list[dict[str, Any]]]:
        """Take up a saved state; returns the number of epochs done and their history."""
        if state is None:
            return 0, []
        self.supernet.load_state_dict(state["supernet"])
        self.arm.load_state_dict(state["arm"])
        self.weight_optimiser.load_state_dict(state["weight_optimiser"])
        self.arch_optimiser.load_state_dict(state["arch_optimiser"])
        return len(state["history"]), list(state["history"])


def monitor_sample(half: Split, config: SearchConfig) -> Split:
    """The first images of the (already shuffled) architecture half."""
    count = min(config.monitor_images, len(half))
    return Split(half.images[:count], half.labels[:count])


def decode_batches(sample: Split, meta: DataMeta, batch_size: int) -> Iterator[Tensor]:
    """Unaugmented, normalised batches [B, 3, H, W] in order."""
    for index in sequential_batches(len(sample), batch_size):
        yield normalise(sample.images[index], meta.mean, meta.std)


def indicators(found: Distributions, genotype: Genotype) -> dict[str, Any]:
    """What tells a collapse: how many skips, pools and zeros were chosen, how sure the choice is (mean margin, entropy)."""
    operations = [edge.op for cell in genotype.cells.values() for edge in cell.edges]
    rows = torch.cat([node.a.flatten(0, -2) for nodes in found.values() for node in nodes])
    top = rows.topk(min(2, rows.shape[-1]), dim=-1).values
    entropy = -(rows * rows.clamp_min(1e-12).log()).sum(-1)
    return {
        "skips": operations.count("skip_connect"),
        "pools": sum("pool" in op for op in operations),
        "zeros": sum(op in ("none", "noise") for op in operations),
        "margin": round(float((top[:, 0] - top[:, -1]).mean()), 6),
        "entropy": round(float(entropy.mean()), 6),
    }


@torch.no_grad()
def subnetwork_accuracy(supernet: Supernet, genotype: Genotype, half: Split, meta: DataMeta, batch_size: int) -> float:
    """Accuracy of the decoded cell with the supernet's weights, batch norm on each batch's statistics, in [0, 1]."""
    arm: Arm = DiscreteArm(dict(genotype.cells))
    return _accuracy(supernet, arm, half, meta, batch_size)


@torch.no_grad()
def supernet_accuracy(supernet: Supernet, arm: Arm, half: Split, meta: DataMeta, batch_size: int) -> float:
    """Accuracy of the whole supernet under its arm, batch norm on each batch's statistics, in [0, 1]."""
    return _accuracy(supernet, arm, half, meta, batch_size)


def _accuracy(supernet: Supernet, arm: Arm, half: Split, meta: DataMeta, batch_size: int) -> float:
    hits = 0
    for index in sequential_batches(len(half), batch_size):
        logits, _ = supernet(normalise(half.images[index], meta.mean, meta.std), arm)
        hits += int((logits.argmax(1) == half.labels[index]).sum())
    return hits / len(half)
