"""Search spaces: the operations, and which of them are candidates on which edges."""

from midas.io.errors import ParamsError
from midas.spaces.darts import DARTS
from midas.spaces.nasbench201 import NASBENCH201
from midas.spaces.rdarts import RDARTS_S1, RDARTS_S2, RDARTS_S3, RDARTS_S4
from midas.spaces.space import EdgeSpec, Space

_ALL = (DARTS, NASBENCH201, RDARTS_S1, RDARTS_S2, RDARTS_S3, RDARTS_S4)
SPACES = {space.name: space for space in _ALL}


def get_space(name: str) -> Space:
    """The space of that name; raises ParamsError where there is none."""
    if name not in SPACES:
        raise ParamsError(f"space: {name!r} is unknown; known are {', '.join(SPACES)}")
    return SPACES[name]


__all__ = ["SPACES", "EdgeSpec", "Space", "get_space"]
