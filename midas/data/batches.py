"""Which images go into which batch: it follows from (seed, epoch) alone, so a resumed run needs no state."""

import torch
from torch import Tensor

from midas.runs import seeding
from midas.runs.errors import DataError


def epoch_batches(n: int, batch_size: int, seed: int, epoch: int, drop_last: bool = True) -> list[Tensor]:
    """The batches of one epoch over `n` images, in a fresh random order.

    Args:
        n: the number of images.
        batch_size: images in a batch.
        seed: the run's seed.
        epoch: its number; other epochs have unrelated orders.
        drop_last: leave out a last batch that is not full.

    Returns:
        Index tensors, int64 [batch_size] each (the last one shorter where it is kept).

    Raises:
        DataError: there is not one full batch and `drop_last` asks for full ones.
    """
    order = torch.randperm(n, generator=seeding.generator(seed, "batches", epoch))
    if drop_last and n < batch_size:
        raise DataError(f"{n} images do not fill one batch of {batch_size}; make the batch size {n} or less")
    return list(torch.split(order[: n - n % batch_size] if drop_last else order, batch_size))


def sequential_batches(n: int, batch_size: int) -> list[Tensor]:
    """All `n` images in their own order, int64 [batch_size] each; the last batch may be shorter."""
    return list(torch.split(torch.arange(n), batch_size))
