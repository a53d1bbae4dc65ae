"""The search methods, chosen by `search.method`."""

from collections.abc import Callable, Sequence

from midas.search.config import SearchConfig
from midas.search.methods.base import ArchWeights, Method, NodeSpec
from midas.search.methods.darts import (
    BetaDartsMethod,
    DartsMethod,
    DartsPairsMethod,
    DrnasMethod,
    GdasMethod,
)
from midas.search.methods.fixed_cell import FixedCell, RandomMethod, random_genotype
from midas.search.methods.midas import MidasMethod
from midas.spaces.space import Space

__all__ = [
    "ArchWeights",
    "FixedCell",
    "Method",
    "NodeSpec",
    "RandomMethod",
    "build_method",
    "random_genotype",
]

_STATIC: dict[str, Callable[[Sequence[NodeSpec]], Method]] = {
    "darts": DartsMethod,
    "darts-pairs": DartsPairsMethod,
    "beta-darts": BetaDartsMethod,
    "drnas": DrnasMethod,
    "gdas": GdasMethod,
}


def build_method(space: Space, node_specs: Sequence[NodeSpec], config: SearchConfig) -> Method:
    """The method that the configuration names, with parameters from torch's generator."""
    if config.method == "midas":
        return MidasMethod(space, node_specs, config)
    if config.method == "random":
        return RandomMethod(space)
    return _STATIC[config.method](node_specs)
