"""Data parallelism inside one process: copies of a network that share its weights, a thread each.

Torch's own threads wait for each other at barriers inside oneDNN's bfloat16 convolutions. Copies
with a part of the batch each meet once a step (docs/devices.md).
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

Modules = Sequence[nn.Module]


class Replicas:
    """Runs passes through `count` copies of some modules; the first copy is the modules themselves.

    The copies have gradients and batch norm statistics of their own until `join` averages them,
    just as processes of a distributed run do.
    """

    def __init__(self, modules: Modules, count: int) -> None:
        self.copies: list[Modules] = [modules, *(_share(modules) for _ in range(count - 1))]
        self.threads = torch.get_num_threads()
        # each thread computes alone; torch keeps the number of threads for each thread
        self.executor = ThreadPoolExecutor(count, "replica", torch.set_num_threads, (1,))

    def run(self, passes: Sequence[Callable[[Modules], Tensor]]) -> list[Tensor]:
        """Call each pass with a copy of the modules, side by side; their results in order.

        There are at most as many passes as copies. They must draw no random numbers, because
        torch's generator belongs to all threads.
        """
        pairs = zip(passes, self.copies, strict=False)
        futures = [self.executor.submit(run, modules) for run, modules in pairs]
        results = [future.result() for future in futures]
        torch.set_num_threads(self.threads)  # a thread's start has changed the default of others
        return results

    @torch.no_grad()
    def join(self) -> None:
        """Average the copies' gradients into the modules, and their statistics into all copies."""
        parameters = [_parameters(modules) for modules in self.copies]
        for first, *others in zip(*parameters, strict=True):
            for other in others:
                if other.grad is not None and first.grad is not None:
                    first.grad.add_(other.grad)
                other.grad = None
            if first.grad is not None:
                first.grad.div_(len(self.copies))
        statistics = [_statistics(modules) for modules in self.copies]
        for first, *others in zip(*statistics, strict=True):
            first.copy_(torch.stack([first, *others]).mean(0))
            for other in others:
                other.copy_(first)

    @torch.no_grad()
    def spread(self) -> None:
        """Give all copies the statistics of the modules, as a checkpoint changes those alone."""
        for first, *others in zip(*map(_statistics, self.copies), strict=True):
            for other in others:
                other.copy_(first)


def _share(modules: Modules) -> Modules:
    """Copies of modules that read the same weights."""
    copies = [copy.deepcopy(module) for module in modules]
    for mine, theirs in zip(_parameters(copies), _parameters(modules), strict=True):
        mine.data = theirs.data
    return copies


def _parameters(modules: Modules) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]


def _statistics(modules: Modules) -> list[Tensor]:
    buffers = (buffer for module in modules for buffer in module.buffers())
    return [buffer for buffer in buffers if buffer.is_floating_point()]
