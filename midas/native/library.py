"""The C kernels of this folder, built once for this processor and kept in the user's cache.

Without a C compiler, on a system other than Linux or with `MIDAS_NATIVE=0` there is no library, and torch does the same work
in more passes over the memory. The library uses the threads of torch's own OpenMP, which is in the process already.
"""

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

_HERE = Path(__file__).parent
# sums may be reordered, so that they run in vectors; infinities and NaN keep their meaning
_FLAGS = (
    "-O3",
    "-march=native",
    "-fPIC",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
)
_REAL = {torch.float32: "float", torch.float64: "double"}
_alone = False  # inside of `torch_alone`


@cache
def library(name: str, dtype: torch.dtype) -> ctypes.CDLL | None:
    """The kernels of a C file here for float32 or float64; None where there are none."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if (
        dtype not in _REAL
        or not compiler
        or shutil.which(compiler[0]) is None
        or sys.platform != "linux"
        or os.environ.get("MIDAS_NATIVE") == "0"
    ):
        return None
    try:
        return ctypes.CDLL(str(_built(compiler, name, _REAL[dtype])))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        warnings.warn(
            f"{name}.c could not be built, so that searches and trainings are slower (MIDAS_NATIVE=0 does without): {said.strip()}",
            stacklevel=2,
        )
        return None


def _built(compiler: list[str], name: str, real: str) -> Path:
    """The shared object's place; it is built where it is not there. Its name holds what it was built from, by and for."""
    flags = (*_FLAGS, f"-Dreal={real}")
    told = subprocess.run([*compiler, "-v"], check=True, capture_output=True, text=True).stderr
    sources = [path.read_text() for path in sorted(_HERE.glob("*.[ch]"))]
    key = hashlib.sha256("\n".join([*sources, told, _processor(), *flags]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "midas"
    place = folder / f"{name}-{real}-{key}.so"
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as there:  # and moved: another process may be building it, too
            object_file, new = Path(there) / "new.o", Path(there) / "new.so"
            # linked without OpenMP's library: its names are resolved in torch's, and the threads are torch's
            for command in (
                ["-c", str(_HERE / f"{name}.c"), "-o", str(object_file)],
                ["-shared", str(object_file), "-lm", "-o", str(new)],
            ):
                options = flags if "-c" in command else ()
                subprocess.run([*compiler, *options, *command], check=True, capture_output=True, text=True)
            new.replace(place)
    return place


def _processor() -> str:
    """What `-march=native` looks at: a cache may be shared by machines."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "\n".join(
        sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    )


@contextmanager
def torch_alone() -> Iterator[None]:
    """Within it nothing is `usable`, as where there is no compiler: what counts torch's operations sees all of them."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def _transformed() -> bool:
    """Whether torch looks at operations rather than at values: what is compiled, traced, or under `torch.func`."""
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )


def alike(x: torch.Tensor, *others: torch.Tensor | None) -> bool:
    """Whether the kernels can be given these beside x: on its device, of its dtype, contiguous."""
    return all(o is None or (o.dtype == x.dtype and o.device == x.device and o.is_contiguous()) for o in others)


def usable(name: str, *tensors: torch.Tensor) -> bool:
    """Whether the kernels of a C file can be given these maps: plain tensors on the CPU, of one shape and dtype, channels_last."""
    if _alone or _transformed():
        return False
    first = tensors[0]
    plain = all(
        type(x) is torch.Tensor
        and x.device.type == "cpu"
        and x.dtype == first.dtype
        and x.shape == first.shape
        and x.is_contiguous(memory_format=torch.channels_last)
        for x in tensors
    )
    return plain and first.numel() > 0 and library(name, first.dtype) is not None
