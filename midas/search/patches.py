"""Patches of a feature map: their means, and their values spread over their pixels.

A patch is a square of `patch` pixels; the last row and column of patches may be smaller.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def patch_means(x: Tensor, patch: int | None) -> Tensor:
    """The mean over each patch of a map [B, C, H, W], as [B, Ph, Pw, C].

    Ph = ceil(H / patch), and Pw likewise. Without a patch size, or with one that is not smaller
    than the map, the whole map is one patch.
    """
    if patch is None or patch >= max(x.shape[-2:]):
        return x.mean(dim=(2, 3))[:, None, None, :]
    means = F.avg_pool2d(x, patch, ceil_mode=True, count_include_pad=False)
    return means.permute(0, 2, 3, 1)  # [B, C, Ph, Pw] -> [B, Ph, Pw, C]


def spread(values: Tensor, size: Sequence[int], patch: int | None) -> Tensor:
    """Give every pixel of a map of `size` (H, W) the value of its patch.

    Values are [B, Ph, Pw, K], the result [B, H, W, K], or [B, 1, 1, K] without a patch size.
    """
    if patch is None:
        return values
    rows = values.repeat_interleave(patch, 1)[:, : size[0]]
    return rows.repeat_interleave(patch, 2)[:, :, : size[1]]
