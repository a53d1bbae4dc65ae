"""The section `decode` of params.yaml, without `decode.proxy`, which `midas.proxy` adds."""

from pydantic import BaseModel, ConfigDict, Field

from midas.decode.aggregation import Aggregation


class DecodeConfig(BaseModel):
    """How a trained supernet is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    aggregation: Aggregation = "mean"  # how the weights of many samples become one
    samples: int = Field(1024, ge=2)  # images of the architecture half, at most all of it
    batch_size: int = Field(256, ge=2, le=65_536)  # batch norm uses a batch's statistics
    seed: int = Field(0, ge=0)  # of the choice of samples
