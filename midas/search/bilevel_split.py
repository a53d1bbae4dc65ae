"""The two halves of the training set, as a search sees them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from midas.data.prepared import Split
from midas.data.splits import split_in_halves
from midas.engine import seeding
from midas.io.errors import ParamsError
from midas.search.config import SearchConfig

CHUNK = 1024  # images that are scaled at a time: all at full size may be too much memory


class BilevelSplit:
    """A stratified half of the training images for the weights, the other for the architecture.

    All search seeds have the same halves, so that their sub-networks are compared on the same
    images. `config` may use fewer images, averaged down to `image_size`; it is a ParamsError if the
    images are smaller.
    """

    def __init__(self, train: Split, config: SearchConfig) -> None:
        first, second = split_in_halves(train.labels, seeding.derive(0, "halves"))
        size = train.images.shape[-1]
        if config.image_size is not None and config.image_size > size:
            raise ParamsError(
                f"image_size: {config.image_size} is more than the {size} pixels of these images; "
                "null keeps theirs"
            )
        self.weights = _take(train, first, config)
        self.architecture = _take(train, second, config)
        smaller = min(len(self.weights), len(self.architecture))
        self.steps_per_epoch = max(1, smaller // config.batch_size)


def _take(train: Split, half: Tensor, config: SearchConfig) -> Split:
    """The images of a half, in an order drawn once."""
    order = torch.randperm(len(half), generator=seeding.generator(0, "order"))
    limit = None if config.images is None else max(1, config.images // 2)
    index = half[order][:limit]
    size = config.image_size
    chunks = [_average_down(train.images[chunk], size) for chunk in torch.split(index, CHUNK)]
    return Split(torch.cat(chunks), train.labels[index])


def _average_down(images: Tensor, size: int | None) -> Tensor:
    """Area-average uint8 images [N, 3, H, W] to [N, 3, size, size]."""
    if size is None or size == images.shape[-1]:
        return images
    averaged = F.adaptive_avg_pool2d(images.float(), size).round().to(torch.uint8)
    return averaged.contiguous(memory_format=torch.channels_last)
