"""Search spaces: the operations, and which of them are candidates on which edges."""

from midas.spaces.published import SPACES, get_space
from midas.spaces.space import EdgeSpec, Space

__all__ = ["SPACES", "EdgeSpec", "Space", "get_space"]
