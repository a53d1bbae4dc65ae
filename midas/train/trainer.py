"""A training's steps and epochs.

Source of the recipe: DARTS, arXiv 1806.09055, section 3.2 and appendix; docs/protocols.md.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.data.augment import Augment, Draws
from midas.data.batches import epoch_batches
from midas.data.prepared import DataMeta, Split
from midas.runs import interrupt, precision, seeding
from midas.runs.errors import ParamsError, TrainingDiverged
from midas.runs.progress import Reporter
from midas.runs.replay import forget, runner
from midas.runs.transfer import send
from midas.runs.world import World
from midas.train.config import TargetConfig
from midas.train.mixing import Mix
from midas.train.schedule import build_scheduler, drop_path_at, size_at
from midas.train.state import TrainState

SAVE_SECONDS = 60.0  # between two checkpoints within an epoch: what a power cut costs at most


class Trainer:
    """One training's parts, and one epoch of it."""

    def __init__(
        self, state: TrainState, config: TargetConfig, train: Split, meta: DataMeta, title: str, world: World
    ) -> None:
        self.state, self.config, self.train, self.title, self.world = state, config, train, title, world
        self.parts = world.size * config.accumulate
        if config.batch_size % self.parts or config.batch_size // self.parts < 2:
            raise ParamsError(
                f"{title}: batch_size {config.batch_size} cannot be divided among {world.size} processes with accumulate "
                f"{config.accumulate}; make it a multiple of {self.parts}, {2 * self.parts} or more"
            )
        if (config.mixup or config.cutmix) and config.batch_size // self.parts % 2:
            raise ParamsError(
                f"{title}: mixup and cutmix pair images, and a part of the batch is {config.batch_size // self.parts} of them "
                f"(batch_size {config.batch_size}, {world.size} processes, accumulate {config.accumulate}); make it even"
            )
        if config.sync_batch_norm and world.device.type == "cpu":
            raise ParamsError(
                f"{title}: sync_batch_norm is for GPUs, and this process computes on a CPU; leave it out: the statistics of "
                "the processes are averaged after each step"
            )
        if config.compile:
            state.network.compile_cells()
        self.augment = Augment(config.augment, meta.mean, meta.std)
        self.mix = Mix(config, len(meta.classes), state.seed)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
        self.steps_per_epoch = len(self._batches(0))
        divided = self.parts > 1 or config.checkpointing or config.compile
        self.run = runner(list(state.parameters()), world.device, config.cuda_graphs and not divided)
        self.scheduler = build_scheduler(state.optimiser, config, self.steps_per_epoch)

    def _batches(self, epoch: int) -> list[Tensor]:
        """The epoch's batches; full ones only, since batch norm cannot train on a single image."""
        return epoch_batches(len(self.train), self.config.batch_size, self.state.seed, epoch, drop_last=True)

    def epoch(
        self, epoch: int, report: Reporter, save: Callable[[], None], interruption: interrupt.Interruption
    ) -> dict[str, Any] | None:
        """The rest of a pass over the training images: the row of the history without validation, None if interrupted."""
        state, saved = self.state, time.monotonic()
        state.network.set_drop_path(drop_path_at(epoch, self.config))
        if self.config.drop_path:  # it changes from epoch to epoch
            forget(self.run)
        state.network.train()
        for step, index in list(enumerate(self._batches(epoch)))[state.step :]:
            loss, seen = self.step(epoch, step, index, interruption)
            state.sums = [old + new for old, new in zip(state.sums, seen, strict=True)]
            state.step = step + 1
            report.step(loss=loss, accuracy=state.sums[1] / state.sums[2])
            if interruption.number is not None:
                save()
                return None
            if time.monotonic() - saved > SAVE_SECONDS:
                save()
                saved = time.monotonic()
        loss_sum, hits, images = state.sums
        self.scheduler.step_update(epoch * self.steps_per_epoch)
        row = {"epoch": epoch + 1, "learning_rate": round(state.optimiser.param_groups[0]["lr"], 10)}
        return {**row, "train_loss": round(loss_sum / images, 6), "train_accuracy": round(hits / images, 6)}

    def step(
        self, epoch: int, step: int, index: Tensor, interruption: interrupt.Interruption | None = None
    ) -> tuple[float, list[float]]:
        """One step of the optimiser; returns the mean loss and what the step adds to `TrainState.sums`."""
        state, config = self.state, self.config
        number = epoch * self.steps_per_epoch + step
        self.scheduler.step_update(number)
        state.optimiser.zero_grad()
        # loss, hits, images; the whole loss, which may be no number where the main one is; who was told to stop
        seen = torch.zeros(5, dtype=torch.float64, device=self.world.device)
        for part, images, labels in self._own_parts(epoch, step, index):
            seeding.seed_torch(state.seed, "train", epoch, step, part)  # drop path draws from here
            loss, total, hits = self.run(self._pass, *self.mix(images, labels, epoch, step, part), labels)
            seen[0] += loss * len(labels)
            seen[1] += hits
            seen[2] += len(labels)
            seen[3] += total
        seen[4] = float(interruption is not None and interruption.number is not None)
        loss_sum, right, images_seen, whole, stopped = self.world.add(seen).tolist()
        if not math.isfinite(whole):
            raise TrainingDiverged(self._diverged(epoch, step))
        self.world.average([p.grad for p in state.parameters() if p.grad is not None])
        self.world.average(state.buffers())
        if config.clip is not None:
            nn.utils.clip_grad_norm_(list(state.parameters()), config.clip)
        state.optimiser.step()
        if state.ema is not None:
            state.ema.update(state.network, step=number + 1)
        if interruption is not None and stopped and interruption.number is None:
            interruption.number = interrupt.SIGNALS[-1]  # another process was told to stop
        return loss_sum / images_seen, [loss_sum, right, images_seen]

    def _own_parts(self, epoch: int, step: int, index: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """This process's parts of a batch, augmented as in the undivided batch: number, images [b, 3, H, W], labels [b]."""
        weight = next(self.state.network.parameters())
        shape = (len(index), *self.train.images.shape[1:])
        draws = self.augment.draw(shape, seeding.generator(self.state.seed, "augment", epoch, step))
        size, length = size_at(epoch, self.config, shape[-1]), len(index) // self.parts
        for part in range(self.world.rank * self.config.accumulate, (self.world.rank + 1) * self.config.accumulate):
            place = slice(part * length, (part + 1) * length)
            own = send(self.train.images[index[place]], weight.device)
            images = self.augment.apply(own, Draws(*(draw[..., place] for draw in draws))).to(weight.dtype)
            if size < shape[-1]:
                images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
            yield part, images, send(self.train.labels[index[place]], weight.device)

    def _pass(self, images: Tensor, wanted: Tensor, labels: Tensor) -> Tensor:
        """Add a part's share of the batch's gradient to the weights.

        Returns:
            [3]: the main loss, the loss with the auxiliary head's share, and how many images were classified correctly.
        """
        mixed = wanted.is_floating_point()  # and smoothed already
        criterion = F.cross_entropy if mixed else self.criterion
        with precision.lower(self.config.precision, self.world.device):
            features, auxiliary_features = self.state.network.forward_cells(images)
            logits = self.state.network.forward_head(features)
            loss: Tensor = criterion(logits, wanted)
            hits = (logits.detach().argmax(1) == labels).sum()
            total = loss
            if self.state.auxiliary is not None:
                auxiliary = criterion(self.state.auxiliary(auxiliary_features), wanted)
                total = loss + self.config.auxiliary_weight * auxiliary
        (total / self.config.accumulate).backward()
        return torch.stack([loss.detach(), total.detach(), hits.float()])

    def _diverged(self, epoch: int, step: int) -> str:
        """What a person reads when the loss is no number any more."""
        kept = f"the checkpoint of epoch {epoch} is kept" if epoch else "no epoch was finished"
        return (
            f"{self.title}: the loss is not a number at epoch {epoch + 1}, step {step + 1}; {kept}; "
            f"lower learning_rate ({self.config.learning_rate}) or clip ({self.config.clip})"
        )
