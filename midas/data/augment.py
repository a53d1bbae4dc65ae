"""Normalisation and the CIFAR augmentation (random crop, flip, cutout) on whole batches of uint8 tensors.

The draws are separated from what they do, so that the same draws can be applied image by image in a test.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from midas.runs.transfer import send

if TYPE_CHECKING:
    from midas.data.picturewise import Pictures


class AugmentConfig(BaseModel):
    """What is done to training images; the default is nothing.

    Attributes:
        pad: random crop of the original size after this many pixels of zeros were added on each side; 0 is off.
        flip: mirror left and right with probability 1/2.
        crop_scale: random crop of this smallest share of the area at an aspect of 3/4 to 4/3, scaled to the full size
            (RandomResizedCrop; ImageNet: 0.08); null is off. Not together with `pad`.
        color_jitter: strengths of brightness, contrast, saturation and perhaps hue, each at least 0 (ImageNet:
            [0.4, 0.4, 0.4, 0.2]); null is off.
        rand_augment: timm's words for RandAugment, e.g. ``rand-m9-mstd0.5``; null is off.
        cutout: side in pixels of the square that is set to zero (the mean colour) after normalisation; 0 is off.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pad: int = Field(default=0, ge=0, le=128)
    flip: bool = False
    cutout: int = Field(default=0, ge=0, le=1024)
    crop_scale: float | None = Field(default=None, gt=0, le=1)
    color_jitter: tuple[float, float, float] | tuple[float, float, float, float] | None = None
    rand_augment: str | None = Field(default=None, pattern="^rand-")

    @model_validator(mode="after")
    def _one_crop(self) -> "AugmentConfig":
        if self.crop_scale is not None and self.pad:
            raise ValueError("crop_scale and pad are two ways to crop; set one of them")
        return self

    @property
    def picturewise(self) -> bool:
        """Whether images are augmented one by one, as pictures."""
        return self.crop_scale is not None or self.color_jitter is not None or self.rand_augment is not None


class Draws(NamedTuple):
    """The random choices of one batch: crop offsets, mirrored or not, cutout centres, one of each an image."""

    offset: Tensor  # int64 [2, B], rows and columns, 0 ... 2 * pad
    mirror: Tensor  # bool [B]
    centre: Tensor  # int64 [2, B], row and column within the image
    picture: Tensor  # int64 [B], the seed of what is done to each image as a picture


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels to numbers of mean 0 and deviation 1.

    Args:
        images: uint8 [B, 3, H, W].
        mean: of each channel, in units of [0, 1] pixel values.
        std: likewise.

    Returns:
        float32 [B, 3, H, W] in channels_last memory, on the images' device.
    """
    pixels = images.to(torch.float32, memory_format=torch.channels_last)
    centre, spread = (send(torch.tensor(value).view(1, 3, 1, 1), images.device) for value in (mean, std))
    return pixels.div_(255).sub_(centre).div_(spread)


class Augment:
    """Augment and normalise batches of training images.

    Zeros of the padding are black before normalisation (as torchvision's RandomCrop then Normalize), those of the
    cutout are zero after it (as in DARTS).

    Args:
        config: what is done.
        mean: of each channel, in units of [0, 1] pixel values.
        std: likewise.
    """

    def __init__(self, config: AugmentConfig, mean: Sequence[float], std: Sequence[float]) -> None:
        self.config, self.mean, self.std = config, tuple(mean), tuple(std)
        self.pictures: Pictures | None = None  # made at the first batch, whose size it needs

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 [B, 3, H, W] to float32 [B, 3, H, W] in channels_last memory; the draws come from `generator` (CPU)."""
        return self.apply(images, self.draw(images.shape, generator))

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        """The random choices for a batch of that shape; always as many, whatever is switched on."""
        batch, _, height, width = shape
        offset = torch.randint(0, 2 * self.config.pad + 1, (2, batch), generator=generator)
        mirror = torch.rand(batch, generator=generator) < 0.5
        rows = torch.randint(0, height, (batch,), generator=generator)
        columns = torch.randint(0, width, (batch,), generator=generator)
        picture = torch.randint(0, 2**31, (batch,), generator=generator)
        return Draws(offset, mirror, torch.stack([rows, columns]), picture)

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The result that those draws give; shapes as in a call."""
        if self.config.picturewise:
            if self.pictures is None:
                from midas.data.picturewise import Pictures

                self.pictures = Pictures(self.config, images.shape[-1], self.mean)
            images = self.pictures(images, draws.picture)
        draws = Draws(*(send(draw, images.device) for draw in draws))
        if self.config.pad or self.config.flip:
            images = self._crop(images, draws)
        result = normalise(images, self.mean, self.std)
        return result.mul_(self._uncut(images, draws.centre)) if self.config.cutout else result

    def _crop(self, images: Tensor, draws: Draws) -> Tensor:
        """Crop and mirror in one gather of whole pixels (three bytes each), the fastest form on CPU."""
        pad, (batch, _, height, width) = self.config.pad, images.shape
        padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, pad, pad, pad, pad))  # [B, H + 2 pad, W + 2 pad, 3]
        rows = torch.arange(height, device=images.device) + draws.offset[0, :, None]  # [B, H]
        columns = torch.arange(width, device=images.device).expand(batch, width)  # [B, W]
        if self.config.flip:
            columns = torch.where(draws.mirror[:, None], width - 1 - columns, columns)
        columns = columns + draws.offset[1, :, None]
        rows = rows + torch.arange(batch, device=images.device)[:, None] * padded.shape[1]  # rows of the whole batch
        pixels = rows[:, :, None] * padded.shape[2] + columns[:, None, :]  # [B, H, W]
        cropped = padded.reshape(-1, 3).index_select(0, pixels.flatten())  # [B * H * W, 3]
        return cropped.view(batch, height, width, 3).permute(0, 3, 1, 2)  # [B, 3, H, W], channels_last memory

    def _uncut(self, images: Tensor, centre: Tensor) -> Tensor:
        """0 inside each image's square, 1 elsewhere: float32 [B, 1, H, W]."""
        start = centre - self.config.cutout // 2  # [2, B]
        inside = []
        for axis, side in enumerate(images.shape[2:]):
            distance = torch.arange(side, device=images.device) - start[axis, :, None]  # [B, side]
            inside.append((distance >= 0) & (distance < self.config.cutout))
        return (~(inside[0][:, None, :, None] & inside[1][:, None, None, :])).float()
