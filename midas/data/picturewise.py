"""Augmentations that work on one picture at a time, as timm has them: random resized crop, colour jitter, RandAugment.

A module of its own, which `Augment` imports where they are asked for: timm takes seconds to import.
"""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import rand_augment_transform
from torch import Tensor
from torchvision import transforms

from midas.data.augment import AugmentConfig


class Pictures:
    """The pictures of a batch, each with draws that follow from a seed of its own.

    Args:
        config: what is done.
        size: the side of the images in pixels.
        mean: of each channel, in units of [0, 1]: what RandAugment fills corners with.
    """

    def __init__(self, config: AugmentConfig, size: int, mean: Sequence[float]) -> None:
        steps: list[Any] = []
        if config.crop_scale is not None:
            # the crop alone: flip, normalisation and the rest are done to whole batches
            plain = create_transform(
                size, is_training=True, scale=(config.crop_scale, 1.0), hflip=0, color_jitter=0, separate=True
            )
            steps.append(plain[0])
        if config.rand_augment is not None:
            fill = tuple(round(255 * value) for value in mean)
            steps.append(rand_augment_transform(config.rand_augment, {"translate_const": size // 3, "img_mean": fill}))
        if config.color_jitter is not None:
            steps.append(transforms.ColorJitter(*config.color_jitter))
        self.transform = transforms.Compose(steps)

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] and int64 [B] to uint8 [B, 3, H, W] in channels_last memory, on the images' device."""
        former = random.getstate(), np.random.get_state()  # the transforms draw from the global generators
        with torch.random.fork_rng(devices=[]):
            pixels = [self._one(*pair) for pair in zip(images.cpu().permute(0, 2, 3, 1), seeds.tolist(), strict=True)]
        random.setstate(former[0])
        np.random.set_state(former[1])
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).to(images.device)

    def _one(self, image: Tensor, seed: int) -> Any:
        """One picture, uint8 [H, W, 3]."""
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        return np.asarray(self.transform(Image.fromarray(image.contiguous().numpy())))
