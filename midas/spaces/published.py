"""The published search spaces: DARTS, NAS-Bench-201, and S1 to S4 of RDARTS.

Sources: DARTS, arXiv 1806.09055, section 3.1; NAS-Bench-201, arXiv 2001.00326; RDARTS, DARTS cells
on which plain DARTS is known to fail, arXiv 1909.09656, whose appendix lists the edges of S1.
"""

from collections.abc import Sequence

from midas.io.errors import ParamsError
from midas.spaces.space import EdgeSpec, Space, complete_edges

INPUTS = 2  # of a DARTS cell, as are the next ones
CONCAT = (2, 3, 4, 5)
DARTS_OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NASBENCH201_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_S1_NAMES = {
    "skip": "skip_connect",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "sep3": "sep_conv_3x3",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}
# In S1 each edge has two candidates of its own: "source target | normal cell | reduction cell".
_S1 = """
0 2 | skip dil3 | max avg
1 2 | skip dil5 | max dil3
0 3 | skip dil5 | max avg
1 3 | skip sep3 | max avg
2 3 | skip dil3 | skip dil5
0 4 | max skip | max avg
1 4 | skip sep3 | max sep3
2 4 | skip sep3 | skip dil3
3 4 | skip dil3 | skip dil5
0 5 | skip sep3 | max avg
1 5 | max skip | max avg
2 5 | skip dil3 | skip dil5
3 5 | dil3 dil5 | skip dil5
4 5 | dil3 dil5 | skip dil5
"""


def darts_like(name: str, candidates: Sequence[str]) -> Space:
    """A space on the DARTS cell with the same candidates on every edge of both cell types."""
    edges = complete_edges(INPUTS, len(CONCAT), candidates)
    return Space(name, "darts", INPUTS, {"normal": edges, "reduce": edges}, CONCAT, keep=2)


def _s1_edges(column: int) -> tuple[EdgeSpec, ...]:
    edges = []
    for line in _S1.strip().splitlines():
        columns = [part.split() for part in line.split("|")]
        source, target = map(int, columns[0])
        edges.append(EdgeSpec(source, target, tuple(_S1_NAMES[name] for name in columns[column])))
    return tuple(edges)


_NB201_EDGES = {"cell": complete_edges(1, 3, NASBENCH201_OPERATIONS)}
_S1_EDGES = {"normal": _s1_edges(1), "reduce": _s1_edges(2)}
_ALL = (
    darts_like("darts", DARTS_OPERATIONS),
    Space("nasbench201", "nasbench201", 1, _NB201_EDGES, concat=(3,), keep=None),
    Space("rdarts-s1", "darts", INPUTS, _S1_EDGES, CONCAT, keep=2),
    darts_like("rdarts-s2", ("skip_connect", "sep_conv_3x3")),
    darts_like("rdarts-s3", ("none", "skip_connect", "sep_conv_3x3")),
    darts_like("rdarts-s4", ("noise", "sep_conv_3x3")),
)
SPACES = {space.name: space for space in _ALL}


def get_space(name: str) -> Space:
    """The space of that name; raises ParamsError where there is none."""
    if name not in SPACES:
        raise ParamsError(f"space: {name!r} is unknown; known are {', '.join(SPACES)}")
    return SPACES[name]
