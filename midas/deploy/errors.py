"""Why an ONNX file differs from its network: a class for each check, in the order of checking."""

from midas.io.errors import ExportError


class ParityError(ExportError):
    """An ONNX file differs from its network, by `difference` in a logit where it was computed."""

    def __init__(self, text: str, difference: float = float("inf")) -> None:
        super().__init__(text)
        self.difference = difference


class InvalidFile(ParityError):
    """The file is not valid ONNX, or it keeps weights in another file."""


class WrongNames(ParityError):
    """Inputs or outputs have other names."""


class WrongAxes(ParityError):
    """The batch is not dynamic, or another axis differs from the interface."""


class WrongShape(ParityError):
    """The logits have another shape."""


class DifferentValues(ParityError):
    """Logits differ by more than the tolerance."""


class DifferentClasses(ParityError):
    """An image gets another class."""


class DifferentRuntimes(ParityError):
    """A second runtime returns other values than onnxruntime."""
