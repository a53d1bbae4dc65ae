"""A training pass as a CUDA graph, which starts its thousands of small kernels at once."""

from collections.abc import Callable, Sequence
from functools import cache
from operator import call
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

# a pass takes tensors, returns a tensor and leaves gradients on parameters that had none
Pass = Callable[..., Tensor]
GraphedStep = Callable[..., Tensor]  # runs a pass, its first argument, on the other arguments


def graphed_step(
    parameters: Sequence[nn.Parameter], device: torch.device, can_capture: bool
) -> GraphedStep:
    """A function that runs a pass with gradients on these parameters; a `Replay` on a GPU."""
    return Replay(parameters, device) if device.type == "cuda" and can_capture else call


def reset(step: GraphedStep) -> None:
    """Record the pass anew, because a value that is no argument of it has changed."""
    if isinstance(step, Replay):
        step.shapes = []


class Replay:
    """Records a forward and backward pass once and then replays its kernels on other inputs.

    With inputs of new shapes the pass first runs plainly, because libraries set themselves up at a
    first use; the next call records it. All replays share their memory: gradients are valid until
    the next pass of any of them.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        self.parameters = list(parameters)
        self.device = device
        self.shapes: list[torch.Size] = []
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.gradients: list[Tensor | None] = []
        self.output = torch.empty(0)
        _replays.add(self)

    def __call__(self, run: Pass, *inputs: Tensor) -> Tensor:
        """What `run` returns, with its gradients on the parameters."""
        shapes = [x.shape for x in inputs]
        with torch.cuda.device(self.device):
            if shapes != self.shapes:
                self.graph = None
                self.shapes = shapes
                return self._warm_up(run, inputs)
            graph = self.graph or self._record(run, inputs)
            for static, new in zip(self.inputs, inputs, strict=True):
                static.copy_(new)
            graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.output.clone()

    def _warm_up(self, run: Pass, inputs: Sequence[Tensor]) -> Tensor:
        """Run plainly on the stream that will record; libraries set themselves up for it."""
        stream = _stream(self.device)
        current = torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            output = run(*inputs)
        current.wait_stream(stream)
        return output

    def _record(self, run: Pass, inputs: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        """Record the kernels; nothing is computed here."""
        self.inputs = [x.clone() for x in inputs]
        self.gradients = []  # frees those of the last record
        # a memory pool lives as long as a graph in it; without one, torch makes a new pool
        graphs = [other.graph for other in _replays if other.device == self.device]
        pool = next((graph.pool() for graph in graphs if graph is not None), None)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=_stream(self.device)):
            self.output = run(*self.inputs)
        self.gradients = [parameter.grad for parameter in self.parameters]
        self.graph = graph
        return graph


@cache
def _stream(device: torch.device) -> Any:
    """One stream for all replays, since cuBLAS keeps memory for each stream."""
    return torch.cuda.Stream(device)


_replays: WeakSet[Replay] = WeakSet()  # they run one after the other, and so share their memory
