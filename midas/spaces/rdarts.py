"""The RDARTS spaces S1 to S4: DARTS cells on which plain DARTS is known to fail.

Source: arXiv 1909.09656; the appendix lists the edges of S1.
"""

from midas.spaces.darts import CONCAT, INPUTS, darts_like
from midas.spaces.space import EdgeSpec, Space

_NAMES = {
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


def _s1_edges(column: int) -> tuple[EdgeSpec, ...]:
    edges = []
    for line in _S1.strip().splitlines():
        columns = [part.split() for part in line.split("|")]
        source, target = map(int, columns[0])
        edges.append(EdgeSpec(source, target, tuple(_NAMES[name] for name in columns[column])))
    return tuple(edges)


_S1_EDGES = {"normal": _s1_edges(1), "reduce": _s1_edges(2)}
RDARTS_S1 = Space("rdarts-s1", "darts", INPUTS, _S1_EDGES, CONCAT, keep=2)
RDARTS_S2 = darts_like("rdarts-s2", ("skip_connect", "sep_conv_3x3"))
RDARTS_S3 = darts_like("rdarts-s3", ("none", "skip_connect", "sep_conv_3x3"))
RDARTS_S4 = darts_like("rdarts-s4", ("noise", "sep_conv_3x3"))
