"""The section `decode` of params.yaml with its proxy trainings. docs/parameters.md explains it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from midas.data.config import NotNegative
from midas.decode.config import DecodeConfig


class ProxyConfig(BaseModel):
    """The section `decode.proxy`. None takes the value of the search."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # depths of the networks; the mean loss over them counts
    cells: tuple[Annotated[int, Field(ge=1, le=64)], ...] | None = Field(None, min_length=1)
    channels: int | None = Field(None, ge=1, le=512)
    image_size: int | None = Field(None, ge=4, le=1024)  # side in pixels
    images: int | None = Field(None, ge=2)  # of training, both halves together
    epochs: int = Field(3, ge=1, le=1000)
    crops: bool = True  # False: a few epochs separate operations better without random crops
    trainings: int = Field(16, ge=0, le=5_000)  # after those of the decoded cell and its neighbours
    temperature: NotNegative = 0.02  # nats for a factor of e in an operation's share
    size_prior: NotNegative = 0.0  # nats for a factor of e in the number of weights
    finalists: int = Field(0, ge=0, le=1_000)  # best cells, trained again; 0 leaves the finals out
    final_epochs: int = Field(30, ge=1, le=10_000)


class DecodeStageConfig(DecodeConfig):
    """The whole section `decode`."""

    proxy: ProxyConfig | None = None  # None: no proxy trainings
