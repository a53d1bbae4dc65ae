"""The section `search` of params.yaml. docs/parameters.md explains every key."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from midas.data.config import AugmentConfig, NotNegative, Positive
from midas.engine.precision import Precision

MethodName = Literal["midas", "darts", "darts-pairs", "drnas", "gdas", "beta-darts", "random"]


class SearchConfig(BaseModel):
    """A search. The defaults are DARTS's (docs/protocols.md); MIDAS's own are in docs/method.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: MethodName = "midas"
    random_cells: int = Field(100, ge=1)  # how many cells the method `random` compares
    genotype: str | None = None  # a file or arch string: its cell is taken, nothing is searched
    exclude: list[str] = ["none"]  # operations that no edge offers
    patch_size: Literal[1, 2, 4, 8] | None = 4  # side in pixels; None: the map is one patch
    width: int = Field(16, ge=1, le=1024)  # of queries and keys
    channels: int = Field(16, ge=1, le=512)  # of the first cells' nodes
    cells: int = Field(8, ge=1, le=64)  # in each of three stages for NAS-Bench-201
    image_size: int | None = Field(None, ge=4, le=1024)  # side in pixels; None keeps the images'
    images: int | None = Field(None, ge=2)  # of training, both halves together
    epochs: int = Field(50, ge=1, le=100_000)
    batch_size: int = Field(64, ge=2, le=65_536)
    accumulate: int = Field(1, ge=1, le=1024)  # parts of a batch; batch norm sees one at a time
    cuda_graphs: bool = False  # record a step's kernels once and replay them
    precision: Precision = "float32"
    warmup_epochs: int = Field(0, ge=0)  # in which only the weights learn
    learning_rate: Positive = 0.025
    min_learning_rate: NotNegative = 0.001
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: NotNegative = 3e-4
    clip: Positive = 5.0  # largest norm of the gradient of all weights together
    arch_learning_rate: Positive = 3e-4
    arch_weight_decay: NotNegative = 1e-3
    augment: AugmentConfig = AugmentConfig()
    monitor_images: int = Field(256, ge=2)  # decoded after each epoch

    @model_validator(mode="after")
    def _consistent(self) -> "SearchConfig":
        if self.method == "midas" and self.channels == 1:
            raise ValueError("channels: a normalised key of one channel is always 0; use 2 or more")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: true needs a momentum above 0")
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(
                f"min_learning_rate {self.min_learning_rate} is above "
                f"learning_rate {self.learning_rate}"
            )
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})"
            )
        return self
