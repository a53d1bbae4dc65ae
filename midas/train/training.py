"""The steps and epochs of a final training.

Source of the recipe: DARTS, arXiv 1806.09055, section 3.2 and appendix; docs/protocols.md.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from operator import call
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.data.augment import Augment
from midas.data.batches import batch_parts, epoch_batches
from midas.data.prepared import DataMeta, Split
from midas.engine import precision, seeding
from midas.engine.cuda_graphs import graphed_step, reset
from midas.engine.distributed import Distributed
from midas.engine.loop import Job, Row, batch_sums, progress
from midas.engine.precision import Precision
from midas.engine.replicas import Replicas
from midas.engine.schedule import build_scheduler
from midas.io.errors import ParamsError
from midas.train.config import TargetConfig
from midas.train.distillation import Teacher
from midas.train.mixing import Mix, class_weights
from midas.train.state import forward, keep_frozen_modes, new_state, set_drop_path, whiten
from midas.train.validate import evaluate

AUTO: tuple[Precision, ...] = ("float32", "bfloat16")  # what `precision: auto` compares
TIMED_STEPS = 3


@dataclass(eq=False)
class Training(Job):
    """The `Job` of a final training. Arguments as in `midas.train.run.train`."""

    network: nn.Module
    config: TargetConfig
    train: Split
    val: Split
    meta: DataMeta
    title: str
    distributed: Distributed
    seed: int
    teacher: Teacher | None = None

    def __post_init__(self) -> None:
        config = self.config
        meta = self.meta
        self.advice = f"lower learning_rate ({config.learning_rate}) or clip ({config.clip})"
        try:
            config.check_parts(self.distributed.size)
        except ValueError as error:
            raise ParamsError(f"{self.title}: {error}") from error
        if config.sync_batch_norm and self.distributed.device.type == "cpu":
            raise ParamsError(
                f"{self.title}: sync_batch_norm is for GPUs, and this process computes on a CPU; "
                "leave it out: the statistics of the processes are averaged after each step"
            )
        self.precision: Precision | None = None if config.precision == "auto" else config.precision
        if config.skeleton == "fast" and config.weights is None:
            whiten(self.network, self.train, meta)
        self.train_state = new_state(self.network, config, self.seed)
        self.best_score = 0.0
        if config.compile:
            getattr(self.network, "compile_cells", self.network.compile)()
        self.replicas = Replicas(self.train_state.modules, config.replicas)
        self.augment = Augment(config.augment, meta.mean, meta.std)
        flips = seeding.generator(self.seed, "flips")
        self.first_flips = torch.rand(len(self.train), generator=flips) < 0.5
        self.mix = Mix(config, len(meta.classes), self.seed)
        counts = self.train.labels.bincount(minlength=len(meta.classes))
        self.class_weights = class_weights(config.class_weights, counts, self.distributed.device)
        self.batches = self._batches(0)
        self.steps_per_epoch = len(self.batches)
        self.scheduler = build_scheduler(
            self.train_state.optimiser,
            config.epochs * self.steps_per_epoch,
            config.min_learning_rate,
            config.warmup_epochs * self.steps_per_epoch,
            config.schedule,
        )
        divided = self.total_parts() > 1 or config.checkpointing or config.compile
        can_capture = config.cuda_graphs and not divided
        self.run_pass = graphed_step(
            self.train_state.parameters(), self.distributed.device, can_capture
        )

    def total_parts(self) -> int:
        """Parts of a batch, over all processes."""
        return self.distributed.size * self.config.accumulate * self.config.replicas

    def begin_epoch(self, epoch: int, step: int) -> None:
        if self.precision is None:
            self.precision = self._faster_precision()
        network = self.train_state.network
        set_drop_path(network, self.config.drop_path_at(epoch))
        if self.config.drop_path:  # it changes from epoch to epoch
            reset(self.run_pass)
        network.train()
        keep_frozen_modes(network)
        self.batches = self._batches(epoch)

    def step(self, epoch: int, step: int) -> Tensor:
        """`batch_sums`, and the loss with the auxiliary head's share."""
        state = self.train_state
        number = epoch * self.steps_per_epoch + step
        self.scheduler.step_update(number)
        state.optimiser.zero_grad()
        sums = torch.zeros(4, dtype=torch.float64, device=self.distributed.device)
        waiting: list[tuple[Tensor, Tensor, Tensor]] = []  # parts that run side by side
        for part, images, labels in self._parts(epoch, step):
            seeding.seed_torch(self.seed, "train", epoch, step, part)  # drop path draws from here
            images, targets = self.mix(images, labels, epoch, step, part)
            waiting.append((images, targets, labels))
            if len(waiting) == self.config.replicas:
                sums += self._run(waiting)
                waiting = []
        if self.config.replicas > 1:
            self.replicas.join()
        self.distributed.all_reduce_mean(p.grad for p in state.parameters() if p.grad is not None)
        self.distributed.all_reduce_mean(state.buffers())
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(state.parameters(), self.config.clip)
        state.optimiser.step()
        if state.ema is not None:
            state.ema.update(state.network, step=number + 1)
        return sums

    def end_epoch(self, epoch: int, sums: Tensor) -> Row:
        """Validate the epoch, and keep its weights if it is the best so far."""
        state = self.train_state
        trained = self.metrics(sums)
        validation = evaluate(state.evaluated, self.val, self.meta, self.distributed)
        self.scheduler.step_update(epoch * self.steps_per_epoch)
        row = {
            "epoch": epoch + 1,
            "learning_rate": round(max(group["lr"] for group in state.optimiser.param_groups), 10),
            "train_loss": round(trained["loss"], 6),
            "train_accuracy": round(trained["accuracy"], 6),
            "val_loss": round(validation.loss, 6),
            "val_accuracy": round(validation.accuracy, 6),
            "val_balanced_accuracy": round(validation.balanced_accuracy, 6),
        }
        if not state.best or self.score(row) >= self.best_score:
            state.best = state.weights()
            self.best_score = self.score(row)
        return row

    def score(self, row: Row) -> float:
        """What of an epoch's row is compared; higher is better."""
        value = float(row[f"val_{self.config.select_by}"])
        return -value if self.config.select_by == "loss" else value

    def is_done(self, history: list[Row]) -> bool:
        """Whether as many epochs as `patience` have passed since the best one."""
        if self.config.patience is None or not history:
            return False
        first = max(history, key=self.score)  # an equal epoch is no better one
        return len(history) - int(first["epoch"]) >= self.config.patience

    def describe(self, row: Row) -> str:
        return (
            f"loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.3f} | "
            f"validation loss {row['val_loss']:.3f} accuracy {row['val_accuracy']:.4f}"
        )

    def state(self) -> dict[str, Any]:
        kept = {"best_score": self.best_score, "precision": self.precision}
        return self.train_state.to_checkpoint() | kept

    def restore(self, state: dict[str, Any]) -> None:
        self.precision = state["precision"]
        self.train_state.restore(state)
        self.replicas.spread()
        self.best_score = state["best_score"]

    def _faster_precision(self) -> Precision:
        """bfloat16 where steps of a copy of this training are faster so, or else float32."""
        device = self.distributed.device
        seconds = torch.zeros(2, dtype=torch.float64, device=device)
        trial = copy.copy(self)
        trial.train_state = copy.deepcopy(self.train_state)
        trial.replicas = Replicas(trial.train_state.modules, self.config.replicas)
        trial.run_pass = call  # a recorded pass would leave its gradients on our own weights
        last = self.config.epochs - 1  # whose images have their full size
        for index, name in enumerate(AUTO):
            trial.precision = name
            trial.begin_epoch(last, 0)
            trial.step(last, 0).cpu()
            start = time.perf_counter()
            for _ in range(TIMED_STEPS):
                trial.step(last, 0).cpu()  # a GPU has then finished
            seconds[index] = (time.perf_counter() - start) / TIMED_STEPS
        taken = self.distributed.all_reduce_sum(seconds).tolist()  # every process chooses alike
        chosen = AUTO[taken.index(min(taken))]
        with progress(f"{self.title}: precision", 1) as report:
            times = ", ".join(f"{name} {t:.2f} s" for name, t in zip(AUTO, taken, strict=True))
            report.note(f"precision: {chosen} is the faster one here (a step: {times})")
        return chosen

    def _batches(self, epoch: int) -> list[Tensor]:
        config = self.config
        labels = self.train.labels if config.balanced_batches else None
        return epoch_batches(len(self.train), config.batch_size, self.seed, epoch, labels=labels)

    def _parts(self, epoch: int, step: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """This process's parts of a batch: number, images [b, 3, H, W] and labels [b]."""
        index = self.batches[step]
        weight = next(self.train_state.network.parameters())
        shape = (len(index), *self.train.images.shape[1:])
        draws = self.augment.draw(shape, seeding.generator(self.seed, "augment", epoch, step))
        if self.config.alternate_flip:
            draws = draws._replace(mirror=self.first_flips[index] ^ bool(epoch % 2))
        places = self.distributed.parts(len(index), self.total_parts() // self.distributed.size)
        size = self.config.size_at(epoch, shape[-1])
        for part, images, labels in batch_parts(
            self.train, index, self.augment, draws, places, weight.device
        ):
            images = images.to(weight.dtype)
            if size < shape[-1]:
                images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
            yield part, images, labels

    def _run(self, parts: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Run one part for each replica; the sums of all, [4]."""
        if len(parts) == 1:
            modules = self.replicas.copies[0]
            return self.run_pass(partial(self._pass, modules), *parts[0])
        passes = [
            partial(self._pass, images=images, targets=targets, labels=labels)
            for images, targets, labels in parts
        ]
        return torch.stack(self.replicas.run(passes)).sum(0)

    def _pass(
        self, modules: nn.ModuleList, images: Tensor, targets: Tensor, labels: Tensor
    ) -> Tensor:
        """Add a part's share of the batch's gradient to the weights; the part's sums, [4]."""
        assert self.precision is not None, "begin_epoch has chosen one"
        smoothing = 0.0 if targets.is_floating_point() else self.config.label_smoothing

        def criterion(logits: Tensor) -> Tensor:
            if self.class_weights is None:
                return F.cross_entropy(logits, targets, label_smoothing=smoothing)
            # torch's own mean divides by the batch's weights, so parts of a batch would not add up
            each = F.cross_entropy(
                logits, targets, self.class_weights, label_smoothing=smoothing, reduction="none"
            )
            return each.mean()

        with precision.lower(self.precision, self.distributed.device):
            logits, *others = forward(modules, images)
            loss: Tensor = criterion(logits)
            if self.teacher is not None:
                loss = self.teacher.loss(loss, logits, images)
            total = loss
            for auxiliary in others:
                total = loss + self.config.auxiliary_weight * criterion(auxiliary)
        (total / self.config.accumulate).backward()
        sums = batch_sums(loss, logits, labels)
        return torch.cat([sums, total.detach()[None] * len(labels)])
