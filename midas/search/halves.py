"""The two halves of the training set, as a search sees them: stratified, perhaps a part of them, perhaps smaller images."""

import torch
from torch.nn import functional as F

from midas.data.prepared import Split
from midas.data.splits import halves
from midas.runs import seeding
from midas.runs.errors import ParamsError
from midas.search.config import SearchConfig


class Halves:
    """Half of the training images for the weights, half for the architecture.

    Args:
        train: all training images.
        config: `images` (how many are used: the first of each half in an order drawn once, whatever their classes) and `image_size`
            (averaged down to it).

    Raises:
        ParamsError: the images are smaller than `image_size`.

    The split is the same for every search seed, so that sub-networks of several seeds are compared on the same images.
    """

    def __init__(self, train: Split, config: SearchConfig) -> None:
        first, second = halves(train.labels, seeding.derive(0, "halves"))
        if (config.image_size or 0) > (own := train.images.shape[-1]):
            raise ParamsError(
                f"image_size: {config.image_size} is more than the {own} pixels of these images; null keeps theirs"
            )
        limit = None if config.images is None else max(1, config.images // 2)
        self.weights = _take(train, first, config.image_size, limit)
        self.architecture = _take(train, second, config.image_size, limit)
        self.steps_per_epoch = max(1, min(len(self.weights), len(self.architecture)) // config.batch_size)


def _take(train: Split, index: torch.Tensor, size: int | None, limit: int | None) -> Split:
    """A shuffled part of the images, averaged down where asked."""
    order = torch.randperm(len(index), generator=seeding.generator(0, "order"))
    index = index[order][:limit]
    parts = [resized(train.images[part], size) for part in torch.split(index, 1024)]  # all at full size may be too much
    return Split(torch.cat(parts), train.labels[index])


def resized(images: torch.Tensor, size: int | None) -> torch.Tensor:
    """Area-average uint8 images [N, 3, H, W] down to [N, 3, size, size]; None, or their own size, leaves them."""
    if size is None or size == images.shape[-1]:
        return images
    averaged = F.adaptive_avg_pool2d(images.float(), size).round().to(torch.uint8)
    return averaged.contiguous(memory_format=torch.channels_last)
