"""The processes that run one stage together, as torchrun starts them; a process by itself is a world of one.

What several processes need of each other is small: averaged gradients and added-up counts. So the state is the same
everywhere after each step, rank 0 alone writes, and all of them read the same checkpoint.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from midas.runs.errors import MidasError


class ProcessLost(MidasError):
    """Another process of the run ended in the middle of it."""


@dataclass(frozen=True)
class World:
    """Which process this is, of how many, and the device it computes on."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def writes(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def add(self, values: Tensor) -> Tensor:
        """The sum over the processes, in place; raises ProcessLost where one is gone."""
        if self.size > 1:
            try:
                dist.all_reduce(values)
            except RuntimeError as error:  # gloo's and NCCL's word for a connection that was closed
                raise ProcessLost(
                    f"process {self.rank} of {self.size}: another process of the run has ended; "
                    "the last checkpoint is kept: mend what ended it (its own message stands above) and run again"
                ) from error
        return values

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors of one type by their mean over the processes, in one message."""
        if self.size == 1:
            return
        kept = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in kept])
        self.add(flat).div_(self.size)
        for tensor, part in zip(kept, torch.split(flat, [tensor.numel() for tensor in kept]), strict=True):
            tensor.copy_(part.view(tensor.shape))


@contextmanager
def joined() -> Iterator[World]:
    """The world of the environment that torchrun sets: gloo between CPUs, NCCL between GPUs, which are used where there are any.

    Raises:
        MidasError: a machine has fewer GPUs than processes.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count and local >= count:
        raise MidasError(
            f"launcher: process {local} of this machine has no GPU; it has {count}: ask for {count} a node"
        )
    device = torch.device("cuda", local) if count else torch.device("cpu")
    if size == 1:
        yield World(device=device)
        return
    if count:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if count else "gloo")
    try:
        yield World(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()
