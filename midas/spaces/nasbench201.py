"""The NAS-Bench-201 space (arXiv 2001.00326): one input, three nodes, five operations on each of six edges, all kept."""

from midas.spaces.space import Space, complete_edges

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

NASBENCH201 = Space(
    name="nasbench201",
    skeleton="nasbench201",
    inputs=1,
    edges={"cell": complete_edges(1, 3, OPERATIONS)},
    concat=(3,),  # the cell's output is its last node
    keep=None,
)
