"""The auxiliary head of the training recipe (DARTS, appendix): a second classifier after two thirds of the cells.

It is trained beside the network and thrown away; it is never part of a model that is registered or exported.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from midas.spaces.norm import Chain

POOL = 5  # side of the pooling window


class AuxiliaryHead(nn.Module):
    """Pooling, two convolutions, a classifier.

    Args:
        channels: channels of the features, `MidasNet.auxiliary_channels`.
        num_classes: classes.
        skeleton: ``cifar`` pools with stride 3; ``imagenet`` with stride 2, and its second convolution has no batch
            norm, as in the public implementation whose parameter count is the reference.
    """

    def __init__(self, channels: int, num_classes: int, skeleton: str = "cifar") -> None:
        super().__init__()
        self.stride = 2 if skeleton == "imagenet" else 3
        last_norm = nn.Identity() if skeleton == "imagenet" else nn.BatchNorm2d(768)
        self.convs = Chain(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            last_norm,
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, channels, H, W] of any size to logits [B, num_classes].

        The published sizes (8x8 for CIFAR, 7x7 for ImageNet) pool to 2x2, which the 2x2 convolution makes 1x1. Smaller
        maps are pooled to 2x2 adaptively, larger ones leave a map that is averaged: the parameters are the same.
        """
        x = F.relu(x)
        if min(x.shape[-2:]) < POOL + self.stride:
            x = F.adaptive_avg_pool2d(x, 2)
        else:
            x = F.avg_pool2d(x, POOL, self.stride, count_include_pad=False)
        x = self.convs(x).mean(dim=(2, 3))  # [B, 768, h, w] to [B, 768]
        return cast(Tensor, self.classifier(x))
