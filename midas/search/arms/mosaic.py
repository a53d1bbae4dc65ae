"""MIDAS: input-specific weights by mosaic attention, edges by pair marginals (METHOD.md section 2)."""

from collections.abc import Sequence

from torch import Tensor, nn

from midas.search.arms.base import Arm, Choice, NodeSite, by_edge, operations_only, pairs_and_operations
from midas.search.attention import MosaicAttention, patch_means
from midas.search.config import SearchConfig
from midas.spaces.space import Space


class MidasArm(Arm):
    """One query and one key projection for each node of each cell; every weight follows from the input."""

    def __init__(self, space: Space, sites: Sequence[NodeSite], config: SearchConfig) -> None:
        super().__init__()
        self.patch, self.detach = config.patch_size, config.detach_keys
        self.rule = operations_only if space.keep is None else pairs_and_operations
        self.attention = nn.ModuleDict(
            {
                site.name: MosaicAttention(site.channels, len(site.edges), config.width, config.normalise)
                for site in sites
            }
        )

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> Choice:
        """See `Arm`."""
        size = maps[0].shape[-2:]
        patch = None if self.patch is None or self.patch >= max(size) else self.patch
        keys = [patch_means(f.detach() if self.detach else f, patch) for f in maps]
        # where the edge has stride 2, a patch of the output is one of twice the side in the input
        queries = [patch_means(x, patch and patch * -(-x.shape[-1] // size[1])) for x in inputs]
        logits = by_edge(self.attention[site.name](queries, keys), site)  # [B, Ph, Pw, n, m]
        return self.rule(logits, site, patch)
