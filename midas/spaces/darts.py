"""The DARTS space: two inputs, four nodes, eight operations, and two edges kept for each node.

Source: arXiv 1806.09055, section 3.1.
"""

from collections.abc import Sequence

from midas.spaces.space import Space, complete_edges

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
INPUTS = 2
CONCAT = (2, 3, 4, 5)


def darts_like(name: str, candidates: Sequence[str]) -> Space:
    """A space on the DARTS cell with the same candidates on every edge of both cell types."""
    edges = complete_edges(INPUTS, len(CONCAT), candidates)
    return Space(name, "darts", INPUTS, {"normal": edges, "reduce": edges}, CONCAT, keep=2)


DARTS = darts_like("darts", OPERATIONS)
