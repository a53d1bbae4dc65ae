"""What a step will hold in memory, counted before the first one is run; whether that fits; and freed memory kept."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from midas.runs.errors import MidasError

FEW = 2  # images of the pass that is counted
IN_FLIGHT = 1.1  # gradients on their way and gaps between blocks, over what is kept (measured)
IN_FLIGHT_AGAIN = 1.5  # the same of a checkpointed pass, whose frees leave glibc's heap full of gaps (measured)
KERNELS = 45 * 2**20  # bytes that torch's CPU kernels take at their first use (measured)
# options of glibc's mallopt (malloc.h): blocks below 32 MiB, its limit, come from the heap, which is not given back
_HEAP = {"M_MMAP_THRESHOLD": (-3, 32 * 2**20), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 64 * 2**20)}
_LIMITS = (  # of a container: how much it may hold, how much it does
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def keep_freed() -> bool:
    """Keep freed memory for the next step; returns whether the C library can.

    glibc gives large blocks back to the system as soon as they are freed, so every step of a training asks for its maps
    anew, page by page. For this process alone, and for as long as it runs.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and all(mallopt(*option) for option in _HEAP.values())


def kept_bytes(forward: Callable[[], Tensor], parameters: Iterable[Tensor], again: Sequence[nn.Module] = ()) -> int:
    """Bytes that a forward pass keeps for its backward pass, the parameters themselves left out.

    Args:
        forward: the pass; it is run once, without checkpointing.
        parameters: tensors that are there whether the pass is run or not.
        again: modules that a checkpointed pass computes again: of these only the outputs are kept, and one of them whole.
    """
    known = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, Tensor] = {}  # one entry for each storage; holding it keeps the address from being used again
    whole, outputs, outside = [0], 0, 0

    def bytes_so_far() -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in known:
            kept[address] = tensor.detach()
        return tensor.detach()  # a tensor that knows where it came from would keep the pass alive for good

    def before(*_: Any) -> None:
        nonlocal outside
        outside = bytes_so_far()

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal outputs
        whole.append(bytes_so_far() - outside)
        outputs += (output if isinstance(output, Tensor) else output[0]).nbytes

    with ExitStack() as hooks:  # removed though the pass should fail
        for module in again:
            hooks.enter_context(module.register_forward_pre_hook(before))
            hooks.enter_context(module.register_forward_hook(after))
        hooks.enter_context(torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor))
        result = forward()
    count = bytes_so_far() - sum(whole) + outputs + max(whole)
    del result
    return count


def step_bytes(kept: int, states: int, device: torch.device, checkpointing: bool) -> int:
    """The most that a step holds: what is kept for the backward pass, and weights, gradients and optimiser states."""
    more = IN_FLIGHT_AGAIN if checkpointing else IN_FLIGHT
    return round(kept * more) + states + (KERNELS if device.type == "cpu" else 0)


def available(device: torch.device) -> int:
    """Bytes that may still be taken: of the GPU, or of this machine and of the container it shows, each process's part."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [int(psutil.virtual_memory().available)]
    for limit, used in _LIMITS:
        try:
            free.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # another system, or a container without limit ("max")
            continue
    return max(0, min(free)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's processes on this machine


def refuse_more(title: str, needed: int, device: torch.device, advice: str) -> None:
    """Raise MidasError where a step would not fit.

    Args:
        title: what is about to run.
        needed: bytes, as `step_bytes` counts.
        device: where it runs.
        advice: what to change.
    """
    free = available(device)
    if needed > free:
        raise MidasError(
            f"{title}: a step takes about {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} are free; {advice}"
        )
