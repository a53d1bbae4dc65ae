"""A target of params.yaml. docs/parameters.md explains every key."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from midas.data.config import AugmentConfig, NotNegative, Positive
from midas.engine.precision import Precision
from midas.engine.schedule import ScheduleName

SelectBy = Literal["accuracy", "balanced_accuracy", "loss"]
Share = Annotated[float, Field(ge=0, lt=1)]


class TargetConfig(BaseModel):
    """A network's size and its training. The defaults are DARTS's for CIFAR (docs/protocols.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(36, ge=1, le=512)  # of the first cells' nodes
    cells: int = Field(20, ge=1, le=64)  # in each of three stages for a NAS-Bench-201 cell
    skeleton: Literal["cifar", "imagenet", "fast"] = "cifar"  # fast: half-sized maps
    max_macs: int | None = Field(None, ge=1)  # the widest network within, at most `channels` wide
    minutes: Positive | None = None  # time to train in: it chooses `channels` and `epochs`
    weights: str | None = None  # to start from: a model folder or file of the same network
    freeze: Literal["body"] | Annotated[int, Field(ge=1)] | None = None  # or so many layers
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None  # of the rate, a layer down
    epochs: int = Field(600, ge=1, le=100_000)
    batch_size: int = Field(96, ge=2, le=65_536)
    accumulate: int = Field(1, ge=1, le=1024)  # parts that each process runs a batch in
    replicas: int = Field(1, ge=1, le=64)  # copies that share a batch, one thread of the CPU each
    sync_batch_norm: bool = False  # on GPUs only
    checkpointing: bool = False  # keep the cells' inputs, and recompute the rest
    precision: Precision | Literal["auto"] = "float32"  # auto: bfloat16 where a step is faster
    compile: bool = False  # the cells, by torch.compile, which rounds differently
    cuda_graphs: bool = False  # no effect with `accumulate`, `checkpointing`, `compile`, on a CPU
    optimiser: Literal["sgd", "adamw", "muon"] = "sgd"  # adamw has no momentum
    learning_rate: Positive = 0.025
    min_learning_rate: NotNegative = 0.0
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: NotNegative = 3e-4
    clip: Positive | None = 5.0  # largest norm of the gradient of all weights together
    schedule: ScheduleName = "cosine"
    warmup_epochs: int = Field(0, ge=0)
    drop_path: Share = 0.2  # probability at the end of the training; it rises linearly from 0
    auxiliary_weight: NotNegative = 0.4  # 0 trains without the auxiliary head
    label_smoothing: Share = 0.0
    class_weights: Literal["none", "balanced", "effective"] = "none"  # of the loss, for rare ones
    balanced_batches: bool = False  # draw every class equally often
    select_by: SelectBy = "accuracy"  # on the validation images: which epoch and seed is kept
    mixup: NotNegative = 0.0  # alpha; 0 is off, also for cutmix. With both, each step takes one
    cutmix: NotNegative = 0.0
    patience: int | None = Field(None, ge=1)  # epochs without a better validation accuracy
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay; the average is what is kept
    augment: AugmentConfig = AugmentConfig(pad=4, flip=True, cutout=16)
    alternate_flip: bool = False  # mirror an image in every other epoch, in place of at random
    start_size: int | None = Field(None, ge=8, le=1024)  # in pixels, of the first epoch's images

    @model_validator(mode="after")
    def _consistent(self) -> "TargetConfig":
        if self.schedule == "onecycle" and self.warmup_epochs:
            raise ValueError("onecycle has its own warm-up; leave warmup_epochs at 0")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs} leaves nothing of {self.epochs} epochs"
            )
        self.check_parts()
        if self.replicas > 1 and (self.drop_path or self.compile):
            raise ValueError("replicas above 1 needs drop_path 0 and compile false")
        if self.alternate_flip and not self.augment.flip:
            raise ValueError("alternate_flip needs augment.flip: true")
        if self.freeze is not None and self.weights is None:
            raise ValueError("freeze keeps weights as they are; name them by `weights`")
        if self.optimiser != "adamw" and self.nesterov and not self.momentum:
            raise ValueError("nesterov: true needs a momentum above 0")
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(
                f"min_learning_rate {self.min_learning_rate} is above "
                f"learning_rate {self.learning_rate}"
            )
        return self

    def check_parts(self, processes: int = 1) -> None:
        """Raise ValueError where a batch has no equal parts of 2 images, or of pairs for mixup."""
        parts = processes * self.accumulate * self.replicas
        part = self.batch_size // parts
        if self.batch_size % parts or part < 2:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be divided among {processes} processes with "
                f"accumulate {self.accumulate} and replicas {self.replicas}; make it a multiple of "
                f"{parts}, {2 * parts} or more"
            )
        if (self.mixup or self.cutmix) and part % 2:
            raise ValueError(
                f"mixup and cutmix pair images: a part of the batch ({self.batch_size} / {parts}) "
                "must be even"
            )

    def drop_path_at(self, epoch: int) -> float:
        """The drop-path probability of an epoch counted from 0: it rises from 0 to `drop_path`."""
        return self.drop_path * epoch / self.epochs

    def size_at(self, epoch: int, size: int) -> int:
        """The side of an epoch's images, which grows from `start_size` by 4 pixels at a time."""
        growing = self.epochs - 1 - self.epochs // 3  # the last third has the full size
        if self.start_size is None or self.start_size >= size or epoch >= growing:
            return size  # which need not be a multiple of 4
        grown = self.start_size + epoch / growing * (size - self.start_size)
        return min(size, round(grown / 4) * 4)


class TimmTargetConfig(TargetConfig):
    """A model of timm and its training, by the same recipe. What only a cell has is left out."""

    model: str  # timm's name, such as resnet18 or resnet18.a1_in1k
    drop_path: Share = 0.0  # as timm spreads it over the depth, the same in all epochs
    auxiliary_weight: float = Field(0.0, le=0, exclude=True)  # no such head
    channels: int = Field(0, le=0, exclude=True)
    cells: int = Field(0, le=0, exclude=True)
    skeleton: Any = Field(None, exclude=True)
    max_macs: None = Field(None, exclude=True)
    minutes: None = Field(None, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _no_cell(cls, value: Any) -> Any:
        of_cells = {name for name, field in cls.model_fields.items() if field.exclude}
        if isinstance(value, dict) and (wrong := of_cells & value.keys()):
            raise ValueError(f"{min(wrong)} is for the found cell; a timm model has its own size")
        return value


class TaughtTargetConfig(TargetConfig):
    """A network of the found cell that learns from the model folder `teacher`, too."""

    temperature: Positive = 4.0  # that softens the probabilities
    teacher_weight: Annotated[float, Field(ge=0, le=1)] = 0.9  # of the teacher's share in the loss
