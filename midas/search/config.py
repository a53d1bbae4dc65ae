"""What a search and a decode are told, with bounds: the sections `search` and `decode` of params.yaml."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from midas.data.augment import AugmentConfig

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SearchConfig(BaseModel):
    """A search. Defaults: PROTOCOLS.md section 1, DARTS; the open choices follow METHOD.md section 3."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arm: Literal["midas", "darts"] = "midas"
    exclude: list[str] = ["none"]  # operations left out of the candidates, for every arm alike
    patch_size: Literal[4, 8] | None = 4  # pixels of a node's output map; null is one patch
    width: int = Field(16, ge=1, le=1024)  # of queries and keys
    normalise: bool = True  # layer-normalised queries and keys
    detach_keys: bool = False  # whether candidate maps receive no gradient through their keys
    channels: int = Field(16, ge=1, le=512)
    cells: int = Field(8, ge=1, le=64)  # nasbench201: cells in each of the three stages
    size: int | None = Field(None, ge=4, le=1024)  # images are averaged down to it; null keeps theirs
    images: int | None = Field(None, ge=2)  # how many training images are used, both halves together; null uses all
    epochs: int = Field(50, ge=1, le=100_000)
    batch_size: int = Field(64, ge=2, le=65_536)
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
    monitor_images: int = Field(256, ge=1)  # of the architecture half, decoded after each epoch for the history


class DecodeConfig(BaseModel):
    """How a trained supernet is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: int = Field(1024, ge=1)  # images of the architecture half, at most all of it
    batch_size: int = Field(256, ge=2, le=65_536)
    seed: int = Field(0, ge=0)  # of the choice of samples
