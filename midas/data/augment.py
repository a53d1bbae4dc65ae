"""Normalisation and augmentation: of whole batches where possible, else image by image."""

import random
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from midas.data.config import AugmentConfig
from midas.engine.distributed import send
from midas.io.errors import ParamsError


class Draws(NamedTuple):
    """The random choices for one batch of B images, so that a test can apply them one by one."""

    offset: Tensor  # int64 [2, B], row and column of the crop, 0 ... 2 * pad
    mirror: Tensor  # bool [B]
    centre: Tensor  # int64 [2, B], row and column of the cutout's centre
    image_seed: Tensor  # int64 [B], seeds of the transforms that run on each image separately


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalise uint8 [B, 3, H, W] to float32 [B, 3, H, W], on the same device, in channels_last.

    `mean` and `std` are those of each channel for pixel values in [0, 1].
    """
    pixels = images.to(torch.float32, memory_format=torch.channels_last)
    channel_mean = send(torch.tensor(mean).view(1, 3, 1, 1), images.device)
    channel_std = send(torch.tensor(std).view(1, 3, 1, 1), images.device)
    return pixels.div_(255).sub_(channel_mean).div_(channel_std)


class Augment:
    """Augment and normalise batches of training images.

    The padding is black before normalisation, as with torchvision's RandomCrop and Normalize. The
    cutout is zero after normalisation, as in DARTS. `mean` and `std` are those of `normalise`.
    """

    def __init__(self, config: AugmentConfig, mean: Sequence[float], std: Sequence[float]) -> None:
        self.config = config
        self.mean = tuple(mean)
        self.std = tuple(std)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment a batch, as `apply` does, with draws from a CPU `generator`."""
        return self.apply(images, self.draw(images.shape, generator))

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Draws:
        """Draw the random choices for a batch [B, 3, H, W], all of them for any configuration."""
        batch, _, height, width = shape
        offset = torch.randint(0, 2 * self.config.pad + 1, (2, batch), generator=generator)
        mirror = torch.rand(batch, generator=generator) < 0.5
        rows = torch.randint(0, height, (batch,), generator=generator)
        columns = torch.randint(0, width, (batch,), generator=generator)
        image_seed = torch.randint(0, 2**31, (batch,), generator=generator)
        return Draws(offset, mirror, torch.stack([rows, columns]), image_seed)

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Augment and normalise uint8 [B, 3, H, W] to float32 [B, 3, H, W], in channels_last."""
        if self.config.per_image:
            transform = _build_transform(self.config, images.shape[-1], self.mean)
            images = _transform_each(images, draws.image_seed, transform)
        draws = Draws(*(send(draw, images.device) for draw in draws))
        if self.config.pad or self.config.flip:
            images = self._crop_and_flip(images, draws)
        result = normalise(images, self.mean, self.std)
        if self.config.cutout:
            result.mul_(self._cutout_mask(images, draws.centre))
        return result

    def _crop_and_flip(self, images: Tensor, draws: Draws) -> Tensor:
        """Crop and mirror by one gather of whole pixels (three bytes), the fastest on a CPU."""
        pad = self.config.pad
        batch, _, height, width = images.shape
        pixels = images.permute(0, 2, 3, 1)  # [B, H, W, 3]
        rows = torch.arange(height, device=images.device) + draws.offset[0, :, None]  # [B, H]
        columns = torch.arange(width, device=images.device).expand(batch, width)  # [B, W]
        if self.config.flip:
            columns = torch.where(draws.mirror[:, None], width - 1 - columns, columns)
        columns = columns + draws.offset[1, :, None]
        if self.config.reflect and pad >= min(height, width):
            raise ParamsError(f"augment.pad: {pad} must be below the image size to reflect")
        if self.config.reflect:  # fold the coordinates back into the image
            rows = (height - 1) - ((height - 1) - (rows - pad).abs()).abs()
            columns = (width - 1) - ((width - 1) - (columns - pad).abs()).abs()
        else:
            pixels = F.pad(pixels, (0, 0, pad, pad, pad, pad))
        # number the rows, then the pixels, through the whole batch
        rows = rows + torch.arange(batch, device=images.device)[:, None] * pixels.shape[1]
        places = rows[:, :, None] * pixels.shape[2] + columns[:, None, :]  # [B, H, W]
        cropped = pixels.reshape(-1, 3).index_select(0, places.flatten())  # [B * H * W, 3]
        # [B, 3, H, W] in channels_last memory
        return cropped.view(batch, height, width, 3).permute(0, 3, 1, 2)

    def _cutout_mask(self, images: Tensor, centre: Tensor) -> Tensor:
        """Compute a mask float32 [B, 1, H, W]: 0 inside each image's square, 1 elsewhere."""
        start = centre - self.config.cutout // 2  # [2, B]
        inside = []
        for axis, side in enumerate(images.shape[2:]):
            distance = torch.arange(side, device=images.device) - start[axis, :, None]  # [B, side]
            inside.append((distance >= 0) & (distance < self.config.cutout))
        return (~(inside[0][:, None, :, None] & inside[1][:, None, None, :])).float()


@cache
def _build_transform(config: AugmentConfig, size: int, mean: tuple[float, ...]) -> Any:
    """Build the transform of Pillow images; RandAugment fills their corners with `mean`."""
    from timm.data.auto_augment import rand_augment_transform  # here: they take seconds
    from timm.data.transforms import RandomResizedCropAndInterpolation
    from torchvision import transforms

    steps: list[Any] = []
    if config.crop_scale is not None:
        scale = (config.crop_scale, 1.0)
        steps.append(RandomResizedCropAndInterpolation(size, scale, interpolation="bilinear"))
    if config.rand_augment is not None:
        fill = tuple(round(255 * value) for value in mean)
        settings = {"translate_const": size // 3, "img_mean": fill}
        steps.append(rand_augment_transform(config.rand_augment, settings))
    if config.color_jitter is not None:
        steps.append(transforms.ColorJitter(*config.color_jitter))
    return transforms.Compose(steps)


def _transform_each(images: Tensor, seeds: Tensor, transform: Any) -> Tensor:
    """Transform uint8 [B, 3, H, W] with seeds int64 [B]; the result is in channels_last memory.

    The draws of an image follow from its seed. They are made by the global random generators, whose
    states are restored afterwards.
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    pixels = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(images.cpu().permute(0, 2, 3, 1), seeds.tolist(), strict=True):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            pixels.append(np.asarray(transform(Image.fromarray(image.contiguous().numpy()))))
    random.setstate(python_state)
    np.random.set_state(numpy_state)
    # [B, H, W, 3] to [B, 3, H, W]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).to(images.device)
