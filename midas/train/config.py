"""What a training is told, with bounds: a target of params.yaml. Defaults: docs/protocols.md (CIFAR, DARTS)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from midas.data.augment import AugmentConfig
from midas.runs.precision import Precision

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class TargetConfig(BaseModel):
    """A network's size and its training.

    Attributes:
        channels: channels of the first cells' nodes.
        cells: cells in all, or in each of three stages for a NAS-Bench-201 cell.
        skeleton: ``cifar``, or ``imagenet`` with its stem of three stride-2 convolutions.
        max_macs: where set, `channels` is an upper bound: the widest network at or under this many multiply-adds (see
            `midas.nets.complexity` for what is counted) is trained.
        start_from: a ``.safetensors`` of the same cell, width and depth to start from; a classifier for another number
            of classes starts afresh. null starts with random weights.
        accumulate: the batch is run in so many parts on each process, one after the other, and their gradients are
            averaged: less memory. Batch norm sees a part at a time.
        sync_batch_norm: batch norm sees the parts of all processes together, not each its own; on GPUs only.
        checkpointing: keep the cells' inputs alone for the backward pass and compute the rest again: less memory, more time.
        precision: ``float32``; ``tf32`` or ``bfloat16`` (autocast; weights stay float32) are for GPUs that have it.
        compile: the cells by torch.compile: minutes at the start, faster steps from there on, another rounding. It needs a C++
            compiler, on GPUs Triton.
        cuda_graphs: on a GPU a step's kernels are recorded once and replayed. Means nothing for a batch in parts, with
            `checkpointing` or `compile`, for several processes, and on a CPU.
        optimiser: ``sgd``, or ``adamw``, for which `momentum` and `nesterov` mean nothing.
        schedule: ``cosine``, from the learning rate to its minimum after a linear warm-up of `warmup_epochs`;
            ``linear``, likewise in a straight line; ``onecycle``, cosine with a warm-up of 30 % of the steps.
        clip: largest norm of the gradient of all weights together; null does not clip.
        drop_path: drop-path probability at the end of the training; it rises linearly from 0 over the epochs.
        auxiliary_weight: weight of the auxiliary head's loss; 0 trains without the head.
        ema: decay of a moving average of the weights, which is then what is validated and kept; null is off.
        mixup: alpha of mixup, which blends pairs of images and their labels; 0 is off.
        cutmix: alpha of cutmix, which pastes a part of one image into another; 0 is off. With both, each step takes one.
        patience: stop after so many epochs without a better validation accuracy; null trains all epochs.
        start_size: side of the training images in the first epoch, in pixels; it grows to their own. null is off.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(36, ge=1, le=512)
    cells: int = Field(20, ge=1, le=64)
    skeleton: Literal["cifar", "imagenet"] = "cifar"
    max_macs: int | None = Field(None, ge=1)
    start_from: str | None = None
    epochs: int = Field(600, ge=1, le=100_000)
    batch_size: int = Field(96, ge=2, le=65_536)
    accumulate: int = Field(1, ge=1, le=1024)
    sync_batch_norm: bool = False
    checkpointing: bool = False
    precision: Precision = "float32"
    compile: bool = False
    cuda_graphs: bool = False
    optimiser: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.025
    min_learning_rate: NotNegative = 0.0
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: NotNegative = 3e-4
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 5.0
    schedule: Literal["cosine", "linear", "onecycle"] = "cosine"
    warmup_epochs: int = Field(0, ge=0)
    drop_path: Share = 0.2
    auxiliary_weight: NotNegative = 0.4
    label_smoothing: Share = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    patience: int | None = Field(None, ge=1)
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    augment: AugmentConfig = AugmentConfig(pad=4, flip=True, cutout=16)
    start_size: int | None = Field(None, ge=8, le=1024)

    @model_validator(mode="after")
    def _consistent(self) -> "TargetConfig":
        """What no single field can say."""
        if self.schedule == "onecycle" and self.warmup_epochs:
            raise ValueError("onecycle has its own warm-up; leave warmup_epochs at 0")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} leaves nothing of {self.epochs} epochs")
        if self.batch_size % self.accumulate or self.batch_size // self.accumulate < 2:
            raise ValueError(
                f"accumulate {self.accumulate} must divide batch_size {self.batch_size}, parts of 2 or more"
            )
        if (self.mixup or self.cutmix) and self.batch_size // self.accumulate % 2:
            raise ValueError(
                f"mixup and cutmix pair images: a part of the batch ({self.batch_size} / {self.accumulate}) must be even"
            )
        if self.optimiser == "sgd" and self.nesterov and not self.momentum:
            raise ValueError("nesterov: true needs a momentum above 0")
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate {self.min_learning_rate} is above learning_rate {self.learning_rate}")
        return self
