"""Data parallelism inside one process: copies of a network that share its weights, a thread each.

They meet once a step, and torch's own threads at barriers in each convolution (docs/devices.md).
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn


class Replicas:
    """Copies of some modules, the first being themselves, with own gradients until `join`."""

    def __init__(self, modules: nn.ModuleList, count: int) -> None:
        self.copies = [modules, *(_share(modules) for _ in range(count - 1))]
        self.threads = torch.get_num_threads()
        # each thread computes alone; torch keeps the number of threads for each thread
        self.executor = ThreadPoolExecutor(count, "replica", torch.set_num_threads, (1,))

    def run(self, passes: Sequence[Callable[[nn.ModuleList], Tensor]]) -> list[Tensor]:
        """Call each pass with a copy of the modules, side by side; none may draw random numbers."""
        pairs = zip(passes, self.copies, strict=False)
        futures = [self.executor.submit(run, modules) for run, modules in pairs]
        results = [future.result() for future in futures]
        torch.set_num_threads(self.threads)  # a thread's start has changed the default of others
        return results

    @torch.no_grad()
    def join(self) -> None:
        """Average the copies' gradients into the modules, and their statistics into all copies."""
        for first, *others in zip(*[modules.parameters() for modules in self.copies], strict=True):
            for other in others:
                if other.grad is not None and first.grad is not None:
                    first.grad.add_(other.grad)
                other.grad = None
            if first.grad is not None:
                first.grad.div_(len(self.copies))
        for first, *others in zip(*map(_statistics, self.copies), strict=True):
            first.copy_(torch.stack([first, *others]).mean(0))
            for other in others:
                other.copy_(first)

    @torch.no_grad()
    def spread(self) -> None:
        """Give all copies the statistics of the modules, as a checkpoint changes those alone."""
        for first, *others in zip(*map(_statistics, self.copies), strict=True):
            for other in others:
                other.copy_(first)


def _share(modules: nn.ModuleList) -> nn.ModuleList:
    shared = copy.deepcopy(modules)
    for mine, theirs in zip(shared.parameters(), modules.parameters(), strict=True):
        mine.data = theirs.data
    return shared


def _statistics(modules: nn.ModuleList) -> list[Tensor]:
    return [buffer for buffer in modules.buffers() if buffer.is_floating_point()]
