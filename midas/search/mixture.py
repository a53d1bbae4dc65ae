"""The weighted sum over candidate maps."""

from collections.abc import Sequence

from torch import Tensor


def weighted_sum(maps: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """The sum over candidates e of weights_e * maps_e.

    Args:
        maps: candidate maps, each [B, C, H, W].
        weights: their weights, each [B, H, W] or broadcastable to it.

    Returns:
        [B, C, H, W].
    """
    total = maps[0] * weights[0].unsqueeze(1)
    for f, w in zip(maps[1:], weights[1:], strict=True):
        total = total + f * w.unsqueeze(1)
    return total
