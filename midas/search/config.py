"""What a search and a decode are told, with bounds: the sections `search` and `decode` of params.yaml."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from midas.data.augment import AugmentConfig
from midas.runs.precision import Precision
from midas.search.rules import Rule

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SearchConfig(BaseModel):
    """A search. Defaults: docs/protocols.md, DARTS; the open choices follow docs/method.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arm: Literal["midas", "darts", "darts-pairs", "drnas", "gdas", "beta-darts", "random"] = "midas"
    second_order: bool = False  # DARTS's unrolled architecture gradient, four passes in place of one
    random_cells: int = Field(100, ge=1)  # arm `random`: how many cells are compared
    genotype: str | None = None  # a genotype file, or an arch string, of a cell to take; nothing is searched then
    exclude: list[str] = ["none"]  # operations left out of the candidates, for every arm alike
    patch_size: Literal[1, 2, 4, 8] | None = 4  # pixels of a node's output map, for images of 32; null is one patch
    width: int = Field(16, ge=1, le=1024)  # of queries and keys
    normalise: bool = True  # layer-normalised queries and keys
    separate_keys: bool = False  # a key projection for each candidate in place of one for all of a node
    uniform_start: bool = False  # key projections start at 0, so that all candidates start alike
    detach_keys: bool = False  # whether candidate maps receive no gradient through their keys
    channels: int = Field(16, ge=1, le=512)
    partial: int = Field(1, ge=1, le=64)  # 1/partial of the channels pass through the candidates (PC-DARTS: 4)
    cells: int = Field(8, ge=1, le=64)  # nasbench201: cells in each of the three stages
    image_size: int | None = Field(None, ge=4, le=1024)  # images are averaged down to it; null keeps theirs
    images: int | None = Field(None, ge=2)  # how many training images are used, both halves together; null uses all
    epochs: int = Field(50, ge=1, le=100_000)
    batch_size: int = Field(64, ge=2, le=65_536)
    accumulate: int = Field(
        1, ge=1, le=1024
    )  # a batch runs in so many parts: less memory, batch norm sees a part at a time
    checkpointing: bool = False  # keep the cells' inputs alone and compute the rest again: less memory, more time
    cuda_graphs: bool = False  # on a GPU: record a step's kernels and replay them, where every step has the same
    precision: Precision = "float32"  # tf32, bfloat16: for GPUs that have it
    warmup_epochs: int = Field(0, ge=0)  # epochs in which only the weights learn
    learning_rate: Positive = 0.025
    min_learning_rate: NotNegative = 0.001
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: NotNegative = 3e-4
    clip: Positive = 5.0
    arch_learning_rate: Positive = 3e-4
    arch_weight_decay: NotNegative = 1e-3
    augment: AugmentConfig = AugmentConfig()
    monitor_images: int = Field(256, ge=2)  # of the architecture half, decoded after each epoch for the history
    stop_at_skips: int | None = Field(None, ge=1)  # end the search once a decoded cell has so many skip connections

    @model_validator(mode="after")
    def _learns(self) -> "SearchConfig":
        if self.channels % self.partial:
            raise ValueError(f"partial ({self.partial}) must divide channels ({self.channels})")
        if self.arm == "midas" and self.normalise and self.channels == self.partial:
            raise ValueError(
                f"channels {self.channels} / partial {self.partial} is one channel, and a normalised key of one is always 0: "
                "make channels larger, or partial smaller"
            )
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: true needs a momentum above 0")
        return self

    @model_validator(mode="after")
    def _repeatable(self) -> "SearchConfig":
        if self.second_order and self.arm in ("drnas", "gdas", "random"):
            raise ValueError(
                f"second_order compares passes with each other, and {self.arm} draws anew in each: set second_order to false"
            )
        return self

    @model_validator(mode="after")
    def _falls(self) -> "SearchConfig":
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate {self.min_learning_rate} is above learning_rate {self.learning_rate}")
        return self

    @model_validator(mode="after")
    def _searches(self) -> "SearchConfig":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        return self


class RefineConfig(BaseModel):
    """How a decoded cell is compared with cells near it by short trainings (`midas.search.refine`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # as `search.cells`, which null takes (so with the next three); of several depths the mean loss counts
    cells: tuple[Annotated[int, Field(ge=1, le=64)], ...] | None = Field(None, min_length=1)
    channels: int | None = Field(None, ge=1, le=512)
    image_size: int | None = Field(None, ge=4, le=1024)
    images: int | None = Field(None, ge=2)
    epochs: int = Field(3, ge=1, le=1000)
    crops: bool = True  # the search's random crops; without them a few epochs tell operations apart better
    # beside those of the decoded cell and of all that differ in one operation; the time to choose grows with their cube
    trainings: int = Field(16, ge=0, le=5_000)
    temperature: NotNegative = 0.02  # nats of loss that weigh as much as e times the share in the search
    capacity: NotNegative = 0.0  # nats of loss that weigh as much as e times the weights, in the finals too
    # so many of the best are trained again, from other weights and for so long, and the best of them is kept; 0: no finals
    finalists: int = Field(0, ge=0, le=1_000)
    final_epochs: int = Field(30, ge=1, le=10_000)


class DecodeConfig(BaseModel):
    """How a trained supernet is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Rule = "mean"
    samples: int = Field(1024, ge=2)  # images of the architecture half, at most all of it
    batch_size: int = Field(256, ge=2, le=65_536)
    seed: int = Field(0, ge=0)  # of the choice of samples
    refine: RefineConfig | None = None  # short trainings of the decoded cell and its neighbours; null is off
