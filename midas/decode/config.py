"""The section `decode` of params.yaml, without `decode.proxy`, which `midas.proxy` adds."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# `mean` is the paper's (MIDAS, arXiv 2602.17700, equation 14), `vote` is what its reviewers asked
# about, and `sensitivity` reads scores (`midas.decode.sensitivity`) in place of weights
Aggregation = Literal["mean", "vote", "sensitivity"]


class DecodeConfig(BaseModel):
    """How a trained supernet is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    aggregation: Aggregation = "mean"  # how the weights of many samples become one
    samples: int = Field(1024, ge=2)  # images of the architecture half, at most all of it
    batch_size: int = Field(256, ge=2, le=65_536)  # batch norm uses a batch's statistics
    seed: int = Field(0, ge=0)  # of the choice of samples
