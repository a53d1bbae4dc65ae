"""What an ONNX file takes and returns: normalised floats or pixels, logits or probabilities.

With pixels, the graph itself normalises. With `image` it also scales and crops, so that any program
can pass an image as it was decoded.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from midas.data.augment import normalise

Input = Literal["float32", "uint8-nchw", "uint8-nhwc", "image"]
Output = Literal["logits", "probabilities"]
Triple = tuple[float, float, float]
_CHANNELS_LAST = ("uint8-nhwc", "image")


@dataclass(frozen=True)
class Interface:
    """A file's input and output. The number of images in a batch is always free."""

    mean: Triple = (0.0, 0.0, 0.0)  # of each channel, for pixel values in [0, 1]
    std: Triple = (1.0, 1.0, 1.0)
    input: Input = "float32"  # normalised, [N, 3, H, W]; the other kinds are pixels from 0 to 255
    output: Output = "logits"
    dynamic_size: bool = False  # whether the network takes images of any height and width
    temperature: float = 1.0  # divides the logits before their softmax

    @property
    def free_size(self) -> bool:
        """Whether the file takes images of any height and width."""
        return self.dynamic_size or self.input == "image"

    @property
    def height_axis(self) -> int:
        """The axis of the height in a batch; the width follows it."""
        return 1 if self.input in _CHANNELS_LAST else 2

    def shape(self, size: Sequence[int]) -> tuple[int, ...]:
        """The shape of one image of `size` (3, H, W) as the file takes it."""
        channels, *sides = size
        return (*sides, channels) if self.input in _CHANNELS_LAST else (channels, *sides)

    def encode(self, pixels: Tensor) -> Tensor:
        """Images uint8 [N, 3, H, W] as the file takes them."""
        if self.input == "float32":
            return normalise(pixels, self.mean, self.std)
        return pixels.permute(0, 2, 3, 1) if self.input in _CHANNELS_LAST else pixels

    def expected_output(self, logits: Tensor) -> Tensor:
        """What the file should return where the network returns `logits` [N, classes]."""
        return self.probabilities(logits) if self.output == "probabilities" else logits

    def probabilities(self, output: Tensor) -> Tensor:
        """Calibrated probabilities from logits [N, classes]."""
        return (output / self.temperature).softmax(1)


PLAIN = Interface()  # that of a network itself


class Wrapped(nn.Module):
    """A network behind an interface, for export.

    With `half` the network computes in float16; input and output keep the interface's types.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, interface: Interface, half: bool = False) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).half() if half else model
        self.interface = interface
        self.half_precision = half
        self.register_buffer("mean", torch.tensor(interface.mean).view(1, 3, 1, 1), False)
        self.register_buffer("std", torch.tensor(interface.std).view(1, 3, 1, 1), False)

    def forward(self, image: Tensor) -> Tensor:
        """Images as the interface takes them, to logits or probabilities float32 [B, classes]."""
        if self.interface.input == "uint8-nhwc":
            image = image.permute(0, 3, 1, 2)  # [B, H, W, 3] to [B, 3, H, W]
        if self.interface.input != "float32":
            image = (image.float() / 255 - self.mean) / self.std
        logits = cast(Tensor, self.model(image.half() if self.half_precision else image)).float()
        return self.interface.expected_output(logits)
