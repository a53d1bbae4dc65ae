"""A training pass as a CUDA graph: networks of found cells and supernets have thousands of small kernels, and to start one
takes the host longer than the GPU takes to run it. A graph starts them all at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Pass = Callable[..., Tensor]  # from tensors to a tensor; it leaves gradients on parameters that had none


def recorded(run: Pass, parameters: Sequence[nn.Parameter], device: torch.device, alike: bool) -> Pass:
    """The pass as it is; on a GPU, and where all its runs are `alike` in what they do, one that is recorded and replayed."""
    return Replay(run, parameters) if device.type == "cuda" and alike else run


def forget(run: Pass) -> None:
    """Record anew at the next call: something that the pass reads beside its arguments and parameters has changed."""
    if isinstance(run, Replay):
        run.graph = None


class Replay:
    """A forward and backward pass that is recorded once and then replayed: the same kernels on other inputs.

    The first call runs the pass as it is, for what is set up at a first use, and the second records it. So does a call
    with inputs of another shape. Random draws go on from torch's generator as they would in the pass itself.

    Args:
        run: the pass.
        parameters: those that it may leave gradients on.
    """

    def __init__(self, run: Pass, parameters: Sequence[nn.Parameter]) -> None:
        self.run, self.parameters = run, list(parameters)
        self.stream: Any = None  # made at the first call
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.gradients: list[Tensor | None] = []
        self.output = torch.empty(0)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What `run` returns, and its gradients on the parameters."""
        if self.stream is None:
            return self._aside(inputs)
        if self.graph is None or [x.shape for x in self.inputs] != [x.shape for x in inputs]:
            self._record(inputs)
        assert self.graph is not None
        for place, new in zip(self.inputs, inputs, strict=True):
            place.copy_(new)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.output.clone()

    def _aside(self, inputs: Sequence[Tensor]) -> Tensor:
        """As it is, on the stream that it will be recorded on: libraries set themselves up for each stream."""
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            output = self.run(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return output

    def _record(self, inputs: Sequence[Tensor]) -> None:
        """Write the kernels down; nothing is computed here."""
        self.graph, self.gradients, self.output = None, [], torch.empty(0)  # the memory of a former one is free again
        self.inputs = [x.clone() for x in inputs]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self.output = self.run(*self.inputs)
        self.graph, self.gradients = graph, [parameter.grad for parameter in self.parameters]
