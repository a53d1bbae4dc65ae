"""Why an ONNX file is not what its network is: one class for each check, in the order of the checks."""

from midas.runs.errors import ExportError


class ParityError(ExportError):
    """An ONNX file is not equal to its network.

    Attributes:
        difference: the largest absolute difference of a logit, or infinity where it was not come to compare logits.
    """

    def __init__(self, text: str, difference: float = float("inf")) -> None:
        super().__init__(text)
        self.difference = difference


class InvalidFile(ParityError):
    """The file is not valid ONNX in one piece."""


class WrongNames(ParityError):
    """Inputs or outputs have other names."""


class WrongAxes(ParityError):
    """The batch is not dynamic, or another axis is."""


class WrongShape(ParityError):
    """Logits have another shape."""


class DifferentValues(ParityError):
    """Logits differ by more than the tolerance."""


class DifferentClasses(ParityError):
    """An image is given another class."""


class DifferentRuntimes(ParityError):
    """A second runtime gives other values than onnxruntime."""
