"""The weighted sum over candidate maps."""

from collections.abc import Sequence

from torch import Tensor


def spread(weights: Tensor, size: tuple[int, int], patch: int | None) -> Tensor:
    """Give every pixel the weight of its patch.

    Args:
        weights: [B, Ph, Pw, E].
        size: height and width of the map.
        patch: the patch's side in pixels; None where one patch covers the map.

    Returns:
        [B, H, W, E], or [B, 1, 1, E] for one patch.
    """
    if patch is None:
        return weights
    return weights.repeat_interleave(patch, 1)[:, : size[0]].repeat_interleave(patch, 2)[:, :, : size[1]]


def weighted_sum(maps: Sequence[Tensor], weights: Tensor, patch: int | None) -> Tensor:
    """The sum over candidates e of weights_e * maps_e.

    Args:
        maps: candidate maps, each [B, C, H, W].
        weights: [B or 1, Ph, Pw, E].
        patch: the patch's side in pixels; None where one patch covers the map.

    Returns:
        [B, C, H, W].
    """
    pixels = spread(weights, (maps[0].shape[-2], maps[0].shape[-1]), patch).unbind(-1)
    total = maps[0] * pixels[0].unsqueeze(1)
    for f, w in zip(maps[1:], pixels[1:], strict=True):
        total = total + f * w.unsqueeze(1)
    return total
