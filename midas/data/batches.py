"""Batches of images. They follow from the seed and the epoch, so a resumed run needs no state."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from midas.data.augment import Augment, Draws
from midas.data.prepared import Split
from midas.engine import seeding
from midas.engine.distributed import send
from midas.io.errors import DataError


def epoch_batches(
    n: int,
    batch_size: int,
    seed: int,
    epoch: int,
    drop_last: bool = True,
    labels: Tensor | None = None,
) -> list[Tensor]:
    """Split `n` images into batches, int64 [batch_size] each, in a new random order each epoch.

    With `drop_last`, an incomplete last batch is left out, and it is a DataError if there is not
    one full batch. With the images' `labels`, every class is drawn equally often: images of small
    classes are repeated, and some of large ones left out.
    """
    generator = seeding.generator(seed, "batches", epoch)
    order = torch.randperm(n, generator=generator)
    if labels is not None:
        order = _balanced(order, labels[order], generator)
    if drop_last and n < batch_size:
        raise DataError(f"{n} images do not fill one batch of {batch_size}; make it {n} or less")
    return list(torch.split(order[: n - n % batch_size] if drop_last else order, batch_size))


def _balanced(order: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """As many images of every class, in a random order; `labels` are those of `order`, [n]."""
    members = [order[labels == label] for label in labels.unique()]
    each = -(-len(order) // len(members))
    drawn = torch.cat([index.repeat(-(-each // len(index)))[:each] for index in members])
    return drawn[torch.randperm(len(drawn), generator=generator)][: len(order)]


def sequential_batches(n: int, batch_size: int) -> list[Tensor]:
    """Split `n` images in their order, int64 [batch_size] each; the last batch may be shorter."""
    return list(torch.split(torch.arange(n), batch_size))


def batch_parts(
    split: Split,
    index: Tensor,
    augment: Augment,
    draws: Draws,
    places: Sequence[tuple[int, slice]],
    device: torch.device,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Load and augment parts of a batch, exactly as in the undivided batch.

    `index`, int64 [B], and `draws` are those of the whole batch; `places` are the number and place
    in it of each part (`Distributed.parts`).

    Yields:
        The number of the part, its images, float32 [b, 3, H, W], and its labels, int64 [b].
    """
    for number, place in places:
        images = send(split.images[index[place]], device)
        labels = send(split.labels[index[place]], device)
        part_draws = Draws(*(draw[..., place] for draw in draws))
        yield number, augment.apply(images, part_draws), labels
