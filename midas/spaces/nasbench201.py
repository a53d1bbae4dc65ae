"""The NAS-Bench-201 space: one input, three nodes, and five operations on each of six edges.

Source: arXiv 2001.00326.
"""

from midas.spaces.space import Space, complete_edges

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

NASBENCH201 = Space(
    name="nasbench201",
    skeleton="nasbench201",
    inputs=1,
    edges={"cell": complete_edges(1, 3, OPERATIONS)},
    concat=(3,),  # the output is the last node
    keep=None,
)
