"""A bilevel search's steps and epochs, first order: each step one architecture batch, then one weight batch.

Source: DARTS, arXiv 1806.09055, section 2.3 with xi = 0, as docs/method.md fixes it; with `second_order`, its equation 7.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.data.augment import Augment, Draws
from midas.data.batches import epoch_batches
from midas.data.prepared import DataMeta, Split
from midas.runs import precision, seeding
from midas.runs.errors import ParamsError, TrainingDiverged
from midas.runs.progress import Reporter
from midas.runs.replay import Pass, Runner, forget, runner
from midas.runs.transfer import send
from midas.runs.world import World
from midas.search.arms import Arm
from midas.search.config import SearchConfig
from midas.search.halves import Halves
from midas.search.monitor import monitor
from midas.search.supernet import Supernet
from midas.search.unrolled import unrolled_gradient
from midas.search.weights import arch_optimiser, weight_optimiser
from midas.spaces.space import Space

Batch = list[tuple[Tensor, Tensor]]  # images [b, 3, H, W] and labels [b] of each part that this process runs
READ_EVERY = 20  # steps of a GPU between two readings of its losses: the host must run ahead of it


class Engine:
    """The two optimisers and one epoch of their alternation."""

    def __init__(
        self,
        space: Space,
        supernet: Supernet,
        arm: Arm,
        config: SearchConfig,
        halves: Halves,
        meta: DataMeta,
        seed: int,
        world: World,
    ) -> None:
        self.space, self.supernet, self.arm, self.config = space, supernet, arm, config
        self.halves, self.meta, self.seed = halves, meta, seed
        self.world, self.parts = world, config.accumulate
        self._check_parts()
        self.augment = Augment(config.augment, meta.mean, meta.std)
        self.weights, self.architecture = list(supernet.parameters()), list(arm.parameters())
        self.weight_optimiser = weight_optimiser(self.weights, config)
        # random search learns no architecture
        self.arch_optimiser = arch_optimiser(self.architecture, config, arm.decays) if self.architecture else None
        self.steps_per_epoch = halves.steps_per_epoch
        divided = config.accumulate > 1 or config.checkpointing or config.second_order
        alike = config.cuda_graphs and arm.repeats and not divided
        self.by_weights = runner(self.weights, world.device, alike)
        self.by_architecture = runner(self.architecture, world.device, alike)

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on an NVIDIA GPU."""
        return self.world.device.type == "cuda"

    def epoch(self, epoch: int, report: Reporter) -> dict[str, Any]:
        """One pass over both halves; returns the history row, in which `arch_loss` and `arch_accuracy` are None where the
        architecture did not learn."""
        self._set_learning_rate(epoch)
        self.supernet.train()
        self.arm.train()
        self.arm.set_progress(epoch, self.config.epochs)
        seeding.seed_torch(self.seed, "search", epoch)  # `noise` draws from here
        draws = seeding.generator(self.seed, "search", "augment", epoch)
        orders = [
            epoch_batches(len(half), self._batch(half), seeding.derive(self.seed, name), epoch)
            for name, half in (("weights", self.halves.weights), ("architecture", self.halves.architecture))
        ]
        learns = self.arch_optimiser if epoch >= self.config.warmup_epochs else None
        forget(self.by_architecture)  # an arm's penalty may grow with the progress
        sums, none, unread = torch.zeros(4), torch.zeros(2, device=self.world.device), []
        for step in range(self.steps_per_epoch):
            batch, held_out_seen = self._images(self.halves.weights, orders[0][step], draws), none
            if learns is not None:
                held_out = self._images(self.halves.architecture, orders[1][step], draws)
                held_out_seen = self._architecture_step(learns, held_out, batch)
            unread.append(torch.cat([self._weight_step(batch), held_out_seen]))
            if len(unread) == (READ_EVERY if self.on_gpu else 1) or step + 1 == self.steps_per_epoch:
                sums += self._read(unread, epoch, step + 1, report)
                unread = []
        monitored = monitor(self.space, self.supernet, self.arm, self.halves.architecture, self.meta, self.config)
        steps = (epoch + 1) * self.steps_per_epoch
        means = self._means(sums / self.steps_per_epoch, learns is not None)
        return {"epoch": epoch + 1, "step": steps, **means, **monitored}

    def _read(self, unread: list[Tensor], epoch: int, steps: int, report: Reporter) -> Tensor:
        """Report the last of `steps` steps of an epoch; their sum, [4]. Raises TrainingDiverged where one is no number."""
        seen = torch.stack(unread).cpu()
        for number, (loss, hits, arch_loss, _) in enumerate(seen.tolist(), steps - len(seen) + 1):
            if not math.isfinite(loss + arch_loss):
                raise TrainingDiverged(
                    f"search seed {self.seed}: the loss is not a number at epoch {epoch + 1}, step {number}; the checkpoint of "
                    f"epoch {epoch} is kept; lower search.learning_rate ({self.config.learning_rate})"
                )
            report.step(loss=loss, accuracy=hits)
        return seen.sum(0)

    def _check_parts(self) -> None:
        """Raise ParamsError where the batches cannot be divided."""
        total = self.world.size * self.parts
        if total > 1 and self.config.second_order:
            raise ParamsError(
                "search.second_order: takes a batch as a whole; set launcher: none and search.accumulate: 1"
            )
        for half in (self.halves.weights, self.halves.architecture):
            if self._batch(half) % total or self._batch(half) // total < 2:
                raise ParamsError(
                    f"search.batch_size: {self._batch(half)} cannot be divided into {total} equal parts of 2 or more"
                )

    def _architecture_step(self, optimiser: torch.optim.Adam, held_out: Batch, batch: Batch) -> Tensor:
        """Adam on the arm alone; in first order the weights' gradients are never computed. Returns loss and accuracy, [2]."""
        self.arm.requires_grad_(True).zero_grad()
        self.supernet.requires_grad_(self.config.second_order)
        if self.config.second_order:
            seen = self._unrolled(held_out[0], batch[0])
        else:
            seen = self._backward(held_out, self.by_architecture, self._penalised_pass, self.architecture)
        optimiser.step()
        return seen

    def _backward(self, batch: Batch, run: Runner, one: Pass, parameters: list[nn.Parameter]) -> Tensor:
        """Leave the gradient of the whole batch, over all processes, on the parameters; the mean loss and accuracy, [2]."""
        seen = [run(one, images, labels) for images, labels in batch]
        self.world.average([p.grad for p in parameters if p.grad is not None])
        mean = torch.stack(seen).mean(0)
        self.world.average([mean])
        return mean

    def _pass(self, images: Tensor, labels: Tensor, penalty: Tensor | None = None) -> Tensor:
        """Add a part's share of the batch's gradient to whatever requires one; the part's loss and accuracy, [2]."""
        loss, hits = self._loss((images, labels))
        whole = loss if penalty is None else loss + penalty
        (whole / self.parts).backward()
        return torch.stack([loss.detach(), hits.to(loss.dtype)])

    def _penalised_pass(self, images: Tensor, labels: Tensor) -> Tensor:
        """`_pass` with what the arm adds to its loss."""
        return self._pass(images, labels, self.arm.penalty())

    def _unrolled(self, held_out: tuple[Tensor, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
        """Leave the second-order gradient on the arm; the loss and accuracy, [2], are those at the moved weights."""
        seen: list[Tensor] = []
        devices = [self.world.device] if self.on_gpu else []

        def judged(on: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            with torch.random.fork_rng(devices):  # passes are compared with each other: `noise` is the same in each
                return self._loss(on)

        def valid_loss() -> Tensor:
            loss, hits = judged(held_out)
            seen.append(torch.stack([loss.detach(), hits.to(loss.dtype)]))
            penalty = self.arm.penalty()
            return loss if penalty is None else loss + penalty

        momenta = [self.weight_optimiser.state[w].get("momentum_buffer") for w in self.weights]
        gradients = unrolled_gradient(
            lambda: judged(batch)[0],
            valid_loss,
            self.weights,
            self.architecture,
            momenta,
            self.weight_optimiser.param_groups[0]["lr"],
            self.config.momentum,
            self.config.weight_decay,
        )
        for parameter, gradient in zip(self.architecture, gradients, strict=True):
            parameter.grad = gradient
        return seen[0]

    def _weight_step(self, batch: Batch) -> Tensor:
        """SGD on the weights alone; returns loss and accuracy, [2]. A weight whose candidate was not drawn stays."""
        self.supernet.requires_grad_(True).zero_grad()
        self.arm.requires_grad_(False)
        seen = self._backward(batch, self.by_weights, self._pass, self.weights)
        nn.utils.clip_grad_norm_(self.weights, self.config.clip)
        self.weight_optimiser.step()
        return seen

    def _loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss and the share of images classified correctly."""
        images, labels = batch
        with precision.lower(self.config.precision, self.world.device):
            logits, _ = self.supernet(images, self.arm)
            loss = F.cross_entropy(logits, labels)
        return loss, (logits.detach().argmax(1) == labels).float().mean()

    def _images(self, half: Split, index: Tensor, draws: torch.Generator) -> Batch:
        """This process's parts of a batch, augmented as in the undivided batch."""
        weight, parts = self.weights[0], self.world.size * self.parts
        drawn = self.augment.draw((len(index), *half.images.shape[1:]), draws)
        length, batch = len(index) // parts, []
        for part in range(self.world.rank * self.parts, (self.world.rank + 1) * self.parts):
            place = slice(part * length, (part + 1) * length)
            own, labels = (send(x[index[place]], weight.device) for x in (half.images, half.labels))
            images = self.augment.apply(own, Draws(*(draw[..., place] for draw in drawn)))
            batch.append((images.to(weight.dtype), labels))
        return batch

    def _batch(self, half: Split) -> int:
        return min(self.config.batch_size, len(half))

    def _set_learning_rate(self, epoch: int) -> None:
        """Cosine over the epochs, from the largest to the smallest rate."""
        config = self.config
        span = config.learning_rate - config.min_learning_rate
        rate = config.min_learning_rate + span * (1 + math.cos(math.pi * epoch / config.epochs)) / 2
        for group in self.weight_optimiser.param_groups:
            group["lr"] = rate

    def _means(self, means: Tensor, learned: bool) -> dict[str, float | None]:
        names = ("weight_loss", "weight_accuracy", "arch_loss", "arch_accuracy")
        row: dict[str, float | None] = {n: round(value, 6) for n, value in zip(names, means.tolist(), strict=True)}
        if not learned:
            row |= dict.fromkeys(names[2:])
        return {"learning_rate": round(self.weight_optimiser.param_groups[0]["lr"], 8), **row}

    def state(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        """Everything that the next epoch depends on; no generator is among it, since draws follow from seed and epoch."""
        return {
            "supernet": self.supernet.state_dict(),
            "arm": self.arm.state_dict(),
            "weight_optimiser": self.weight_optimiser.state_dict(),
            "arch_optimiser": self.arch_optimiser.state_dict() if self.arch_optimiser else {},
            "history": history,
        }

    def restore(self, state: dict[str, Any] | None) -> tuple[int, list[dict[str, Any]]]:
        """Take up a saved state; returns the number of epochs done and their history."""
        if state is None:
            return 0, []
        self.supernet.load_state_dict(state["supernet"])
        self.arm.load_state_dict(state["arm"])
        self.weight_optimiser.load_state_dict(state["weight_optimiser"])
        if self.arch_optimiser:
            self.arch_optimiser.load_state_dict(state["arch_optimiser"])
        return len(state["history"]), list(state["history"])
