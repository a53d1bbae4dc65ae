"""The processes that run one stage together, as torchrun starts them, and their devices.

They have the same state after each step; rank 0 alone writes.
"""

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from midas.io.errors import MidasError


class ProcessLost(MidasError):
    """Another process of the run ended in the middle of it."""


@dataclass(frozen=True)
class Distributed:
    """Which process this is, of how many, and the device it computes on."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def parts(self, length: int, accumulate: int) -> list[tuple[int, slice]]:
        """This process's `accumulate` parts of a batch of `length`: number in all, and place."""
        each = length // (self.size * accumulate)
        numbers = range(self.rank * accumulate, (self.rank + 1) * accumulate)
        return [(number, slice(number * each, (number + 1) * each)) for number in numbers]

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, in place; raises ProcessLost where one is gone."""
        if self.size > 1:
            try:
                dist.all_reduce(values)
            except RuntimeError as error:  # gloo and NCCL raise it for a connection that was closed
                raise ProcessLost(
                    f"process {self.rank} of {self.size}: another process of the run has ended; "
                    "the last checkpoint is kept: mend what ended that process (its own message "
                    "stands above) and run again"
                ) from error
        return values

    def all_reduce_mean(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors of one type by their mean over the processes, in one message."""
        if self.size == 1:
            return
        kept = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in kept])
        self.all_reduce_sum(flat).div_(self.size)
        parts = torch.split(flat, [tensor.numel() for tensor in kept])
        for tensor, part in zip(kept, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


ALONE = Distributed()  # the only process, on the CPU


@contextmanager
def join() -> Iterator[Distributed]:
    """Join the processes that torchrun names, by NCCL or gloo; MidasError for too few GPUs."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus and local_rank >= gpus:
        raise MidasError(
            f"launcher: process {local_rank} of this machine has no GPU; the machine has {gpus}: "
            f"start {gpus} a node"
        )
    device = torch.device("cuda", local_rank) if gpus else torch.device("cpu")
    if size == 1:
        yield Distributed(device=device)
        return
    if gpus:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if gpus else "gloo")
    try:
        yield Distributed(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; by page-locked memory to a GPU, so that the host need not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_available():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def end_with_parent() -> None:
    """In a worker: end when the process that started it is killed, and do not wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
