"""The auxiliary head of the training recipe: a second classifier after two thirds of the cells.

It is trained beside the network and then thrown away. Source: DARTS, arXiv 1806.09055, appendix.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from midas.kernels.chain import Chain

POOL = 5  # side of the pooling window


class AuxiliaryHead(nn.Module):
    """A pooling, two convolutions and a classifier, for `MidasNet.auxiliary_channels`.

    ``cifar`` pools with stride 3. ``imagenet`` pools with stride 2, and its second convolution has
    no batch norm, as in the public code whose parameters are the reference.
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
        """Compute logits [B, num_classes] from features [B, channels, H, W] of any size.

        Maps of the published sizes (8x8, 7x7) and smaller ones are pooled to 2x2, which the second
        convolution makes 1x1. Larger maps leave several pixels, which are averaged.
        """
        x = F.relu(x)
        if min(x.shape[-2:]) < POOL + self.stride:
            x = F.adaptive_avg_pool2d(x, 2)
        else:
            x = F.avg_pool2d(x, POOL, self.stride, count_include_pad=False)
        x = self.convs(x).mean(dim=(2, 3))  # [B, 768, h, w] -> [B, 768]
        return cast(Tensor, self.classifier(x))
