"""The arms, one short file each, chosen by `search.arm`."""

from collections.abc import Callable, Sequence

from midas.search.arms.base import Arm, Choice, NodeSite
from midas.search.arms.discrete import DiscreteArm, RandomArm, random_genotype
from midas.search.arms.drnas import DrnasArm
from midas.search.arms.gdas import GdasArm
from midas.search.arms.mosaic import MidasArm
from midas.search.arms.static import BetaDartsArm, DartsArm, DartsPairsArm
from midas.search.config import SearchConfig
from midas.spaces.space import Space

__all__ = ["Arm", "Choice", "DiscreteArm", "NodeSite", "RandomArm", "build_arm", "random_genotype"]

_STATIC: dict[str, Callable[[Sequence[NodeSite]], Arm]] = {
    "darts": DartsArm,
    "darts-pairs": DartsPairsArm,
    "beta-darts": BetaDartsArm,
    "drnas": DrnasArm,
    "gdas": GdasArm,
}


def build_arm(space: Space, sites: Sequence[NodeSite], config: SearchConfig) -> Arm:
    """The arm that the configuration names; its initial parameters come from torch's generator."""
    if config.arm == "midas":
        return MidasArm(space, sites, config)
    if config.arm == "random":
        return RandomArm(space)
    return _STATIC[config.arm](sites)
