"""The RDARTS spaces S1 to S4 (arXiv 1909.09656): DARTS cells on which plain DARTS is known to fail."""

from midas.spaces.darts import CONCAT, INPUTS, darts_like
from midas.spaces.space import EdgeSpec, Space

_SHORT = {
    "skip": "skip_connect",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "sep3": "sep_conv_3x3",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}
# S1 has two operations an edge, others on every edge (RDARTS, appendix); "target<-source normal / reduce"
_S1 = """
2<-0 skip dil3 / max avg
2<-1 skip dil5 / max dil3
3<-0 skip dil5 / max avg
3<-1 skip sep3 / max avg
3<-2 skip dil3 / skip dil5
4<-0 max skip / max avg
4<-1 skip sep3 / max sep3
4<-2 skip sep3 / skip dil3
4<-3 skip dil3 / skip dil5
5<-0 skip sep3 / max avg
5<-1 max skip / max avg
5<-2 skip dil3 / skip dil5
5<-3 dil3 dil5 / skip dil5
5<-4 dil3 dil5 / skip dil5
"""


def _s1() -> Space:
    """S1 from its table."""
    edges: dict[str, list[EdgeSpec]] = {"normal": [], "reduce": []}
    for line in _S1.strip().splitlines():
        nodes, normal = line.split(" / ")[0].split(" ", 1)
        target, source = map(int, nodes.split("<-"))
        for kind, names in (("normal", normal), ("reduce", line.split(" / ")[1])):
            edges[kind].append(EdgeSpec(source, target, tuple(_SHORT[name] for name in names.split())))
    return Space("rdarts-s1", "darts", INPUTS, {kind: tuple(specs) for kind, specs in edges.items()}, CONCAT, keep=2)


RDARTS_S1 = _s1()
RDARTS_S2 = darts_like("rdarts-s2", ("skip_connect", "sep_conv_3x3"))
RDARTS_S3 = darts_like("rdarts-s3", ("none", "skip_connect", "sep_conv_3x3"))
RDARTS_S4 = darts_like("rdarts-s4", ("noise", "sep_conv_3x3"))
