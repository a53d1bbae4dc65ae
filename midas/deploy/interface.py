"""What an ONNX file takes and gives: normalised floats or the pixels themselves, logits or probabilities.

With pixels, scaling and normalisation are part of the graph, and a program in any language feeds an image as it decoded
it. The same description serves the exporter, the proof, the calibration and the metadata, so that they cannot disagree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from midas.data.augment import normalise

Input = Literal["float32", "uint8-nchw", "uint8-nhwc"]
Output = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class Interface:
    """A file's input and output.

    Attributes:
        mean: of each channel, in units of [0, 1] pixel values.
        std: likewise.
        input: ``float32``, normalised, N x 3 x H x W; or pixels 0 to 255 in either order of the axes.
        output: ``logits``, or their softmax.
        dynamic_size: whether height and width are free, beside the batch.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    input: Input = "float32"
    output: Output = "logits"
    dynamic_size: bool = False

    @property
    def plain(self) -> bool:
        """Whether the network itself has this interface."""
        return (self.input, self.output) == ("float32", "logits")

    def shape(self, size: Sequence[int]) -> tuple[int, ...]:
        """The shape of one image of `size` (3, H, W) as the file takes it."""
        channels, height, width = size
        return (height, width, channels) if self.input == "uint8-nhwc" else (channels, height, width)

    def feed(self, pixels: Tensor) -> Tensor:
        """Images uint8 [N, 3, H, W] as the file takes them."""
        if self.input == "float32":
            return normalise(pixels, self.mean, self.std)
        return pixels.permute(0, 2, 3, 1) if self.input == "uint8-nhwc" else pixels

    def expect(self, logits: Tensor) -> Tensor:
        """What the file should give where the network gives `logits` [N, classes]."""
        return logits.softmax(1) if self.output == "probabilities" else logits


PLAIN = Interface()  # what a network itself takes and gives


class Wrapped(nn.Module):
    """A network behind an interface, which becomes part of the exported graph.

    Args:
        model: normalised images [B, 3, H, W] to logits [B, classes].
        interface: what to take and to give.
        half: compute the network in float16; input and output stay as the interface says.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, interface: Interface, half: bool = False) -> None:
        super().__init__()
        self.model, self.interface, self.half_precision = model, interface, half
        for name in ("mean", "std"):
            value = torch.tensor(getattr(interface, name)).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Images as the interface takes them, to logits or probabilities float32 [B, classes]."""
        if self.interface.input == "uint8-nhwc":
            image = image.permute(0, 3, 1, 2)
        if self.interface.input != "float32":
            image = (image.float() / 255 - self.mean) / self.std
        logits = cast(Tensor, self.model(image.half() if self.half_precision else image)).float()
        return logits.softmax(1) if self.interface.output == "probabilities" else logits
