"""What may be found: operations, and spaces as data."""

from midas.runs.errors import ParamsError
from midas.spaces.darts import DARTS
from midas.spaces.nasbench201 import NASBENCH201
from midas.spaces.rdarts import RDARTS_S1, RDARTS_S2, RDARTS_S3, RDARTS_S4
from midas.spaces.space import EdgeSpec, Space

SPACES = {space.name: space for space in (DARTS, NASBENCH201, RDARTS_S1, RDARTS_S2, RDARTS_S3, RDARTS_S4)}


def get_space(name: str) -> Space:
    """The space of that name.

    Raises:
        ParamsError: there is none.
    """
    if name not in SPACES:
        raise ParamsError(f"space: unknown space {name!r}; known are {', '.join(SPACES)}")
    return SPACES[name]


__all__ = ["SPACES", "EdgeSpec", "Space", "get_space"]
