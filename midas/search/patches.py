"""How patches lie in maps: their means, their values on every pixel, and their rows of pixels in memory.

A patch is `patch` pixels square; the last row and column of patches may be smaller. None stands for one patch over the whole map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def patch_means(x: Tensor, patch: int | None) -> Tensor:
    """Mean over each patch.

    Args:
        x: a map [B, C, H, W].
        patch: the patch's side in pixels; the last row and column of patches may be smaller. None, or a side no smaller
            than the map, takes the whole map as one patch.

    Returns:
        [B, Ph, Pw, C] with Ph = ceil(H / patch), Pw = ceil(W / patch).
    """
    if patch is None or patch >= max(x.shape[-2:]):
        return x.mean(dim=(2, 3))[:, None, None, :]
    means = F.avg_pool2d(x, patch, ceil_mode=True, count_include_pad=False)
    return means.permute(0, 2, 3, 1)


def stack_keys(means: Sequence[Tensor]) -> Tensor:
    """Patch means of E maps, each [B, Ph, Pw, C], to [B, Ph, Pw, E, C] as a view of [E, B, Ph, Pw, C] (`MosaicAttention`)."""
    return torch.stack(list(means)).movedim(0, 3)


def pool_keys(maps: Sequence[Tensor], patch: int | None, means: Sequence[Tensor | None]) -> Tensor:
    """`stack_keys` of the maps' patch means, each put in its place as it is computed; for where no gradient is recorded."""
    batch, channels, height, width = maps[0].shape
    rows, columns = (1, 1) if patch is None else (-(-height // patch), -(-width // patch))
    keys = maps[0].new_empty(len(maps), batch, rows, columns, channels)
    for key, f, mean in zip(keys, maps, means, strict=True):
        if mean is not None:
            key.copy_(mean)
        elif f.is_cuda:
            key.copy_(patch_means(f, patch))
        elif patch is None:
            torch.mean(f, (2, 3), out=key[:, 0, 0])
        else:
            place = key.permute(0, 3, 1, 2)
            F.avg_pool2d(f, patch, ceil_mode=True, count_include_pad=False, out=place)  # type: ignore[call-arg]  # not in its stub
    return keys.movedim(0, 3)


def spread(values: Tensor, size: tuple[int, int], patch: int | None) -> Tensor:
    """Give every pixel the value of its patch.

    Args:
        values: [B, Ph, Pw, K].
        size: height and width of the map.
        patch: the patch's side in pixels; None where one patch covers the map.

    Returns:
        [B, H, W, K], or [B, 1, 1, K] for one patch.
    """
    if patch is None:
        return values
    return values.repeat_interleave(patch, 1)[:, : size[0]].repeat_interleave(patch, 2)[:, :, : size[1]]


def as_map(values: Tensor, size: tuple[int, int], patch: int | None) -> Tensor:
    """Patch values [B, Ph, Pw, C] as a map: [B, C, H, W], or [B, C, 1, 1] for one patch."""
    return spread(values, size, patch).permute(0, 3, 1, 2)


def by_pixel(weights: Tensor, size: tuple[int, int], patch: int | None) -> list[Tensor]:
    """Each map's weights, to multiply the map with: [B, 1, H, W], or [B, 1, 1, 1] for one patch."""
    return [w.unsqueeze(1) for w in spread(weights, size, patch).unbind(-1)]


def by_run(weights: Tensor) -> list[Tensor]:
    """Each map's weights, to multiply its `patch_rows` with: [B, Ph, 1, Pw, 1]."""
    return [w[:, :, None, :, None] for w in weights.unbind(-1)]


def patch_rows(x: Tensor, patch: int) -> Tensor | None:
    """A channels_last map [B, C, H, W] as its patches' rows of pixels [B, Ph, patch, Pw, patch * C], where patches fit.

    So the values of a patch are spread by long runs instead of pixel by pixel.
    """
    batch, channels, height, width = x.shape
    if height % patch or width % patch or not x.is_contiguous(memory_format=torch.channels_last):
        return None
    return x.permute(0, 2, 3, 1).view(batch, height // patch, patch, width // patch, patch * channels)


def areas(size: tuple[int, int], patch: int | None, like: Tensor) -> Tensor:
    """The number of pixels in each patch, [1, Ph, Pw, 1]."""
    if patch is None:
        return like.new_full((1, 1, 1, 1), size[0] * size[1])
    sides = []
    for side in size:  # filled where they are used: nothing is copied there
        full, rest = divmod(side, patch)
        sides.append(like.new_full((full + (rest > 0),), patch))
        if rest:
            sides[-1][-1:].fill_(rest)
    return torch.outer(*sides)[None, :, :, None]
