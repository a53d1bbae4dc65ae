"""How the images and labels of a batch count: mixup and cutmix by timm, and class weights."""

from typing import cast

import numpy as np
import torch
from timm.data import Mixup
from torch import Tensor

from midas.engine import seeding
from midas.train.config import TargetConfig


class Mix:
    """Blends images and labels by mixup (arXiv 1710.09412) or cutmix (arXiv 1905.04899), if on."""

    def __init__(self, config: TargetConfig, num_classes: int, seed: int = 0) -> None:
        self.seed = seed
        self.mixup = None
        if config.mixup or config.cutmix:
            options = {"label_smoothing": config.label_smoothing, "num_classes": num_classes}
            self.mixup = Mixup(config.mixup, config.cutmix, **options)

    def __call__(
        self, images: Tensor, labels: Tensor, epoch: int, step: int, part: int
    ) -> tuple[Tensor, Tensor]:
        """Blended images and smoothed label distributions [B, classes]."""
        if self.mixup is None:
            return images, labels
        former = np.random.get_state()  # timm draws from NumPy's global generator
        np.random.seed(seeding.derive(self.seed, "mix", epoch, step, part) % 2**32)
        mixed, distributions = self.mixup(images, labels)
        np.random.set_state(former)
        return cast(Tensor, mixed), cast(Tensor, distributions).to(images.dtype)


def class_weights(kind: str, counts: Tensor, device: torch.device | None = None) -> Tensor | None:
    """The weight of each class in the loss, from the numbers of images [K]; 1 for the mean image.

    ``balanced`` divides by the number of images n, ``effective`` by (1 - b^n) / (1 - b) with
    b = 1 - 1/N for N images in all (Cui et al., arXiv 1901.05555).
    """
    if kind == "none":
        return None
    numbers = counts.double().clamp_min(1)
    if kind == "effective":
        base = 1 - 1 / numbers.sum()
        numbers = (1 - base**numbers) / (1 - base)
    weights = 1 / numbers
    return (weights * counts.sum() / (weights * counts).sum()).float().to(device)
