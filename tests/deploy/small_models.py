"""A small classifier for tests that need no model folder."""

import torch
from torch import Tensor, nn

SIZE = 16


class Small(nn.Module):
    """A classifier with batch norm and dropout, which differ between training and evaluation."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout()
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.conv(x)).relu().mean((2, 3))))


def small(seed: int = 0) -> Small:
    """A `Small` in evaluation mode, with weights and batch-norm statistics from a seed."""
    torch.manual_seed(seed)
    model = Small()
    with torch.no_grad():
        model.norm.running_mean.normal_()
        model.norm.running_var.uniform_(0.5, 2)
        model.head.weight.mul_(10)
    return model.eval()


def normal_images(count: int, seed: int = 0) -> Tensor:
    """Normalised images [count, 3, SIZE, SIZE]."""
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
