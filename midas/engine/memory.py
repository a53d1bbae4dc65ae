"""What a training step will hold in memory, counted before the first step, and whether it fits."""

import ctypes
import os
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch
from torch import Tensor

from midas.io.errors import MidasError

FEW = 2  # images of the pass that is counted
IN_FLIGHT = 1.1  # gradients on their way and gaps between blocks, over what is kept (measured)
COPIES = 4  # of a parameter: itself, its gradient, at most two states of the optimiser
KERNELS = 45 * 2**20  # bytes that torch's CPU kernels take at their first use (measured)
# glibc's mallopt (malloc.h): M_MMAP_THRESHOLD at 32 MiB, its limit, M_TRIM_THRESHOLD, M_TOP_PAD
_HEAP = ((-3, 32 * 2**20), (-1, 2**31 - 1), (-2, 64 * 2**20))
_CGROUP = Path("/sys/fs/cgroup")  # of a container: how much it may hold, how much it holds
_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def keep_freed() -> bool:
    """Keep freed memory for the next step, where glibc would return it; returns whether it can."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and all(mallopt(*option) for option in _HEAP)


def kept_bytes(
    loss: Callable[[Tensor, Tensor], Tensor], shape: Sequence[int], parameters: Sequence[Tensor]
) -> int:
    """Bytes that the pass `loss` keeps for each image [C, H, W]; it is run once."""
    like = parameters[0]
    images = like.new_zeros(FEW, *shape).to(memory_format=torch.channels_last)
    labels = torch.zeros(FEW, dtype=torch.int64, device=like.device)
    known = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, Tensor] = {}  # by storage; holding a tensor keeps its address from being reused

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in known:
            kept[address] = tensor.detach()
        return tensor.detach()  # a tensor with its history would keep the pass alive for good

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = loss(images, labels)
    count = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del result
    return count // FEW


def step_bytes(
    loss: Callable[[Tensor, Tensor], Tensor], size: int, batch: int, parameters: Sequence[Tensor]
) -> int:
    """The most bytes that a step holds, of `batch` images a pass that are `size` pixels wide."""
    kept = kept_bytes(loss, (3, size, size), parameters) * batch
    kernels = KERNELS if parameters[0].device.type == "cpu" else 0
    states = COPIES * sum(parameter.nbytes for parameter in parameters)
    return round(kept * IN_FLIGHT) + states + kernels


def available(device: torch.device) -> int:
    """Bytes that this process may still take: of the GPU, or its share of the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [int(psutil.virtual_memory().available)]
    for limit, used in _LIMITS:
        try:
            free.append(int((_CGROUP / limit).read_text()) - int((_CGROUP / used).read_text()))
        except (OSError, ValueError):  # another system, or a container without a limit ("max")
            continue
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's, on this machine
    return max(0, min(free)) // processes


def peak(device: torch.device | None = None) -> int:
    """The most bytes that this process or one that it started has held, of a GPU or in all."""
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    held = max(resource.getrusage(process).ru_maxrss for process in processes)
    return held if sys.platform == "darwin" else 1024 * held


def check(title: str, needed: int, device: torch.device, advice: str) -> None:
    """Raise MidasError, with advice, where a step's `needed` bytes are not free."""
    free = available(device)
    if needed > free:
        raise MidasError(
            f"{title}: a step takes about {needed / 2**30:.1f} GiB of memory and "
            f"{free / 2**30:.1f} are free; {advice}"
        )
