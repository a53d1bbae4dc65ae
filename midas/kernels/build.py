"""Build C kernels at first use, for this processor, and keep them in the user's cache folder.

Without Linux and a C compiler (`cc` or `$CC`), or with `MIDAS_NATIVE=0`, torch computes instead.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_FLAGS = ("-O3", "-march=native", "-fPIC", "-fopenmp")
# the compiler may reorder sums to vectorise them; infinities and NaN keep their meaning
_MATH_FLAGS = ("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math")
_C_TYPES = {torch.float32: "float", torch.float64: "double"}
_disabled = False  # inside `without_kernels`


class Struct(ctypes.Structure):
    """A C struct. Where a value is a tensor, the struct holds its address and not the tensor."""

    def __init__(self, *values: Any) -> None:
        super().__init__(*[v.data_ptr() if isinstance(v, Tensor) else v for v in values])


def addresses(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    """A C array of the tensors' addresses; None becomes NULL."""
    return (ctypes.c_void_p * len(tensors))(*[None if t is None else t.data_ptr() for t in tensors])


def fields(c_type: Any, names: str) -> list[tuple[str, Any]]:
    """Fields of one type for a `Struct`, from their names with spaces between them."""
    return [(name, c_type) for name in names.split()]


class Kernel:
    """A C function that returns 0, or another number where there is no memory for its workspace."""

    def __init__(self, source: Path, name: str, *argtypes: type) -> None:
        self.source = source
        self.name = name
        self.argtypes = [ctypes.POINTER(t) if issubclass(t, Struct) else t for t in argtypes]

    def __call__(self, dtype: torch.dtype, *values: Any) -> None:
        """Call the function compiled for `dtype`; raises MemoryError. Values as in `Struct`."""
        function = getattr(library(self.source, dtype), self.name)
        function.argtypes = self.argtypes
        if function(*[v.data_ptr() if isinstance(v, Tensor) else v for v in values]) != 0:
            raise MemoryError(f"{self.source.name}: no memory for the workspace of {self.name}")


@cache
def library(source: Path, dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled kernels of a C file for float32 or float64; None where there cannot be any."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if (
        dtype not in _C_TYPES
        or not compiler
        or shutil.which(compiler[0]) is None
        or sys.platform != "linux"
        or os.environ.get("MIDAS_NATIVE") == "0"
    ):
        return None
    try:
        return _load(compiler, source, _C_TYPES[dtype])
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        warnings.warn(
            f"{source.name} could not be built, so searches and trainings are slower; repair the "
            f"C compiler, or set MIDAS_NATIVE=0 to do without kernels: {reason.strip()}",
            stacklevel=2,
        )
        return None


def _load(compiler: list[str], source: Path, real: str) -> ctypes.CDLL:
    flags = (*_FLAGS, *_MATH_FLAGS, f"-Dreal={real}")
    path = _cache_path(compiler, source, flags, real)
    with suppress(OSError):  # it is missing, or damaged: e.g. empty after a power cut
        return ctypes.CDLL(str(path))
    _build(compiler, source, flags, path)
    return ctypes.CDLL(str(path))


def _cache_path(compiler: list[str], source: Path, flags: Sequence[str], real: str) -> Path:
    """The library's path; its name hashes the folder's C code, compiler, flags and processor."""
    version = subprocess.run([*compiler, "-v"], check=True, capture_output=True, text=True).stderr
    code = [path.read_text() for path in sorted(source.parent.glob("*.[ch]"))]
    # what -march=native depends on: machines of different kinds may share a cache folder
    names = ("model name", "flags", "Features", "CPU part")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = sorted({line for line in lines if line.startswith(names)})
    key = hashlib.sha256("\n".join([*code, version, *processor, *flags]).encode()).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "midas"
    return folder / f"{source.stem}-{real}-{key[:16]}.so"


def _build(compiler: list[str], source: Path, flags: Sequence[str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        compiled = f"{folder}/new.o"
        linked = f"{folder}/new.so"
        # linked without -fopenmp, it finds OpenMP in torch's library and runs on torch's threads
        link = ["-shared", compiled, "-lm", "-o", linked]
        for arguments in ([*flags, "-c", str(source), "-o", compiled], link):
            subprocess.run([*compiler, *arguments], check=True, capture_output=True, text=True)
        Path(linked).replace(path)  # whole at once: another process may build it, too


@contextmanager
def without_kernels() -> Iterator[None]:
    """Use torch alone in this context, e.g. so that a counter of torch's operations sees all."""
    global _disabled
    before = _disabled
    _disabled = True
    try:
        yield
    finally:
        _disabled = before


def usable(source: Path, *tensors: Tensor) -> bool:
    """Whether kernels can compute on these maps now: CPU tensors of one shape, channels last."""
    if (
        _disabled
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    ):
        return False
    first = tensors[0]
    fit = all(
        type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype == first.dtype
        and x.shape == first.shape
        and x.is_contiguous(memory_format=torch.channels_last)
        for x in tensors
    )
    return fit and first.numel() > 0 and library(source, first.dtype) is not None


def compatible(x: Tensor, *others: Tensor | None) -> bool:
    """Whether the others are contiguous, on the device of x and of its dtype; None always is."""
    return all(
        other is None
        or (other.dtype == x.dtype and other.device == x.device and other.is_contiguous())
        for other in others
    )
