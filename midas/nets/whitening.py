"""The stem of the skeleton ``fast``: a fixed whitening of 2x2 patches, and a map of half the size.

Sources: a whitened first layer that is not trained, hlb-CIFAR10 (T. Hayes, 2022), and airbench,
arXiv 2404.00498, section 3.2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 2  # of a patch in pixels
EPSILON = 5e-4  # added to the variances, so that noise is not blown up


class Whitening(nn.Module):
    """A convolution whose outputs are uncorrelated over an image's patches, then a ReLU.

    Each filter stands twice, with both signs, because the ReLU keeps one of them. The filters are a
    buffer: nothing trains them, and they are saved with the weights. They are single pixels until
    `fit` is called. Maps [B, in_chans, H, W] to [B, 8 in_chans, H, W].
    """

    filters: Tensor

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        size = in_chans * SIDE**2
        self.out_chans = 2 * size
        pixels = torch.eye(size).view(size, in_chans, SIDE, SIDE)
        self.register_buffer("filters", torch.cat([pixels, -pixels]))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Set the filters from normalised images [B, in_chans, H, W].

        They are the eigenvectors of the patches' second moments over the square roots of the
        eigenvalues.
        """
        size = self.out_chans // 2
        patches = F.unfold(images.float(), SIDE).transpose(1, 2).reshape(-1, size).double()
        variances, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        # columns to filters: [size, size] -> [size, in_chans, 2, 2]
        filters = (vectors / (variances + EPSILON).sqrt()).T.reshape(-1, *self.filters.shape[1:])
        self.filters.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        """See the class. A row and a column of zeros at the end keep height and width."""
        return F.relu(F.conv2d(F.pad(x, (0, 1, 0, 1)), self.filters))
