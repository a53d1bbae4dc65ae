"""A training pass as a CUDA graph: networks of found cells and supernets have thousands of small kernels, and to start one
takes the host longer than the GPU takes to run it. A graph starts them all at once.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

Pass = Callable[..., Tensor]  # from tensors to a tensor; it leaves gradients on parameters that had none
Runner = Callable[..., Tensor]  # runs a pass, its first argument, on the others


def runner(parameters: Sequence[nn.Parameter], device: torch.device, alike: bool) -> Runner:
    """What runs a pass as it is; on a GPU, where all its runs are `alike` in what they do, a `Replay`."""
    return Replay(parameters, device) if device.type == "cuda" and alike else _plainly


def forget(run: Runner) -> None:
    """Record anew: something that the pass reads beside its arguments and parameters has changed."""
    if isinstance(run, Replay):
        run.shapes = []


def _plainly(run: Pass, *inputs: Tensor) -> Tensor:
    return run(*inputs)


class Replay:
    """Runs a forward and backward pass that is recorded once and then replayed: the same kernels on other inputs.

    With inputs of new shapes the pass is first run as it is, for what is set up at a first use, and recorded at the next call.
    Random draws go on from torch's generator as they would in the pass itself. All that are recorded share their memory: a
    pass's gradients hold until the next one of any runs.

    Args:
        parameters: those that the pass may leave gradients on.
        device: the GPU.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        self.parameters, self.device = list(parameters), device
        self.shapes: list[torch.Size] = []
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.gradients: list[Tensor | None] = []
        self.output = torch.empty(0)
        _ALL.add(self)

    def __call__(self, run: Pass, *inputs: Tensor) -> Tensor:
        """What `run` returns, and its gradients on the parameters."""
        shapes = [x.shape for x in inputs]
        with torch.cuda.device(self.device):
            if shapes != self.shapes:
                self.graph, self.shapes = None, shapes
                return self._aside(run, inputs)
            if self.graph is None:
                self._record(run, inputs)
            assert self.graph is not None
            for place, new in zip(self.inputs, inputs, strict=True):
                place.copy_(new)
            self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.output.clone()

    def _aside(self, run: Pass, inputs: Sequence[Tensor]) -> Tensor:
        """As it is, on the stream that it will be recorded on: libraries set themselves up for each stream."""
        stream, here = _stream(self.device), torch.cuda.current_stream()
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            output = run(*inputs)
        here.wait_stream(stream)
        return output

    def _record(self, run: Pass, inputs: Sequence[Tensor]) -> None:
        """Write the kernels down; nothing is computed here."""
        self.inputs, self.gradients = [x.clone() for x in inputs], []
        # a pool lives as long as a graph in it: where there is none any longer, torch makes a new one
        pool = next((other.graph.pool() for other in _ALL if other.graph and other.device == self.device), None)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=_stream(self.device)):
            self.output = run(*self.inputs)
        self.graph, self.gradients = graph, [parameter.grad for parameter in self.parameters]


@cache
def _stream(device: torch.device) -> Any:
    """One for all, since cuBLAS keeps memory for each stream."""
    return torch.cuda.Stream(device)


_ALL: WeakSet[Replay] = WeakSet()  # that are alive: they run one after the other, and so share their memory
