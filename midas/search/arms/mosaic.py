"""MIDAS: input-specific weights by mosaic attention, edges by pair marginals (docs/method.md)."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from midas.native.library import alike, usable
from midas.native.node import Kernels
from midas.search.arms.base import Arm, Choice, NodeSite, by_edge, operations_only, pairs_and_operations
from midas.search.attention import MosaicAttention
from midas.search.config import SearchConfig
from midas.search.mixture import attended_sum
from midas.search.native_sums import native_attended_sum
from midas.search.patches import patch_means, stack_keys
from midas.spaces.space import Space


class MidasArm(Arm):
    """One query and one key projection for each node of each cell; every weight follows from the input."""

    def __init__(self, space: Space, sites: Sequence[NodeSite], config: SearchConfig) -> None:
        super().__init__()
        self.patch, self.detach, self.again = config.patch_size, config.detach_keys, config.checkpointing
        self.native = not (config.detach_keys or config.separate_keys)  # of what the kernels can do
        self.rule = operations_only if space.keep is None else pairs_and_operations
        self.attention = nn.ModuleDict(
            {
                site.name: MosaicAttention(
                    site.channels,
                    len(site.edges),
                    config.width,
                    config.normalise,
                    sum(len(edge.candidates) for edge in site.edges) if config.separate_keys else None,
                    config.uniform_start,
                )
                for site in sites
            }
        )
        self.pooled: dict[tuple[int, int | None], tuple[Tensor, Tensor]] = {}

    def begin_pass(self) -> None:
        """See `Arm`: the last cell's inputs hold the whole pass before."""
        self.pooled = {}

    def begin_cell(self) -> None:
        """See `Arm`: an input is pooled once in a cell, though several nodes ask for it."""
        self.pooled = {}

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> Choice:
        """See `Arm`."""
        queries, patch = self._queries(inputs, maps)
        means = [patch_means(f, patch) if mean is None else mean for f, mean in self._shared(site, maps, patch)]
        keys = stack_keys(means)
        return self._choose(site, queries, patch, keys.detach() if self.detach else keys)

    def mix(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[Tensor, Choice]:
        """See `Arm`: the same as there, with each map's gradient formed in one pass."""
        attention = cast(MosaicAttention, self.attention[site.name])
        if self.native and usable("node", *maps) and alike(maps[0], *attention.parameters()):
            return self._mix_natively(site, attention, inputs, maps)
        if self.detach or not torch.is_grad_enabled():
            return super().mix(site, inputs, maps)
        queries, patch = self._queries(inputs, maps)
        output, *found = attended_sum(
            lambda leaves, keys: self._choose(site, leaves, patch, keys).tensors(),
            maps,
            patch,
            queries,
            list(attention.parameters()),
            [mean for _, mean in self._shared(site, maps, patch)],
            self.again,
        )
        return output, Choice.of(found, patch)

    def _mix_natively(
        self, site: NodeSite, attention: MosaicAttention, inputs: Sequence[Tensor], maps: Sequence[Tensor]
    ) -> tuple[Tensor, Choice]:
        queries, patch = self._queries(inputs, maps)
        pairs, counts = self.rule is pairs_and_operations, [len(edge.candidates) for edge in site.edges]
        # an input that is a skip's map itself: its mean's gradient goes to the map with that of the skip's key
        own = [next((e for e, f in enumerate(maps) if f is x), -1) for x in inputs]
        kernels = Kernels(maps, patch, counts, pairs, attention.normalise, own)
        total, answers = native_attended_sum(kernels, maps, queries, attention.projections())
        return total, Choice.of(answers if pairs else answers[:2], patch)

    def _queries(self, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[list[Tensor], int | None]:
        """The inputs' patch means [B, Ph, Pw, C] and the patch's side on this node's map."""
        size = maps[0].shape[-2:]
        patch = None if self.patch is None or self.patch >= max(size) else self.patch
        # where the edge has stride 2, a patch of the output is one of twice the side in the input
        return [self._pool(x, patch and patch * -(-x.shape[-1] // size[1])) for x in inputs], patch

    def _shared(
        self, site: NodeSite, maps: Sequence[Tensor], patch: int | None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Each map with its patch means where it has no weights: several nodes ask for those, so they are pooled once."""
        names = (name for edge in site.edges for name in edge.candidates)
        for f, name in zip(maps, names, strict=True):
            yield f, self._pool(f, patch) if name == "skip_connect" or "pool" in name else None

    def _choose(self, site: NodeSite, queries: Sequence[Tensor], patch: int | None, keys: Tensor) -> Choice:
        return self.rule(by_edge(self.attention[site.name](queries, keys), site), site, patch)

    def _pool(self, x: Tensor, patch: int | None) -> Tensor:
        """The patch means of an input; the input is kept with them, so that its identity stays its own."""
        if (id(x), patch) not in self.pooled:
            self.pooled[id(x), patch] = (x, patch_means(x, patch))
        return self.pooled[id(x), patch][1]
