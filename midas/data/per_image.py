"""Transforms that work on one image at a time: random resized crop, RandAugment, colour jitter."""

import random
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torchvision import transforms

from midas.data.config import AugmentConfig


@cache
def build_transform(config: AugmentConfig, size: int, mean: tuple[float, ...]) -> Any:
    """Build the transform of Pillow images; RandAugment fills their corners with `mean`."""
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


def transform_each(images: Tensor, seeds: Tensor, transform: Any) -> Tensor:
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
