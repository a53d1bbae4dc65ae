"""Kernels are built once where there is a C compiler, and everything runs where there is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from midas.kernels import batch_norm, build
from midas.kernels.build import Kernel, addresses, compatible, library, usable, without_kernels
from midas.search import node_kernel

SOURCES = [batch_norm.SOURCE, node_kernel.SOURCE]
needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="no C compiler, or not Linux: nothing is built",
)
uncached_library = library.__wrapped__


def channels_last(*shape: int) -> torch.Tensor:
    return torch.ones(*shape).to(memory_format=torch.channels_last)


@needs_compiler
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_kernels_are_used_where_there_is_a_compiler(source: Path) -> None:
    x = channels_last(2, 3, 4, 4)
    assert usable(source, x, x)
    assert usable(source, x.double())
    with without_kernels():
        assert not usable(source, x)


@needs_compiler
def test_a_library_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert uncached_library(batch_norm.SOURCE, torch.float32) is not None
    (built,) = (tmp_path / "midas").iterdir()
    before = built.stat().st_mtime_ns
    assert uncached_library(batch_norm.SOURCE, torch.float32) is not None
    assert [p.stat().st_mtime_ns for p in (tmp_path / "midas").iterdir()] == [before]


@needs_compiler
def test_a_change_of_a_header_builds_another_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "answer.c"
    source.write_text('#include "answer.h"\nint answer(void) { return ANSWER; }\n')
    answers = []
    for number in (1, 2):
        (tmp_path / "answer.h").write_text(f"#define ANSWER {number}\n")
        answers.append(uncached_library(source, torch.float32).answer())
    assert answers == [1, 2]


@needs_compiler
@pytest.mark.parametrize("content", [b"", b"not a library"])
def test_a_damaged_library_is_built_again(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "answer.c"
    source.write_text("int answer(void) { return 42; }\n")
    path = tmp_path / "answer.so"
    path.write_bytes(content)
    monkeypatch.setattr(build, "_cache_path", lambda *_: path)
    assert uncached_library(source, torch.float32).answer() == 42


@needs_compiler
def test_a_kernel_without_memory_raises_memory_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "full.c"
    source.write_text("int fill(void) { return 1; }\n")
    with pytest.raises(MemoryError, match=r"full\.c: no memory for the workspace of fill"):
        Kernel(source, "fill")(torch.float32)


@needs_compiler
def test_a_node_too_large_for_memory_raises_memory_error() -> None:
    x = channels_last(1, 1, 1, 1)
    node = node_kernel.NodeKernel([x], None)
    node.width = 2**60  # of which the workspace holds a row
    shape = node.shape()
    mixing = node.mixing(torch.ones(1, 1, 1, 1))
    with pytest.raises(MemoryError, match="weighted_sum"):
        node_kernel._weighted_sum(x.dtype, shape, mixing, addresses([x]), x)


@needs_compiler
def test_kernels_run_on_torchs_threads() -> None:
    """A second OpenMP in the process would start threads of its own."""
    code = (
        "import torch; from midas.kernels.build import usable\n"
        "from midas.kernels.batch_norm import SOURCE\n"
        "x = torch.ones(2, 16, 4, 4).to(memory_format=torch.channels_last)\n"
        "assert usable(SOURCE, x)\n"
        "lines = [line for line in open('/proc/self/maps') if 'gomp' in line or 'iomp' in line]\n"
        "print({line.split()[-1] for line in lines})"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.count("omp") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="kernels are built on Linux only")
def test_a_compiler_that_fails_is_named_in_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text('#!/bin/sh\ntest "$1" = -v || { echo "no space left" >&2; exit 1; }\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    message = (
        r"batch_norm\.c could not be built.*MIDAS_NATIVE=0 to do without kernels: no space left"
    )
    with pytest.warns(UserWarning, match=message):
        assert uncached_library(batch_norm.SOURCE, torch.float32) is None


PASSES_WITHOUT_KERNELS = """
import torch
from midas.kernels.build import library
from midas.search.config import SearchConfig
from midas.search.node_kernel import SOURCE
from midas.search.run import build_search
from midas.spaces import get_space
config = SearchConfig(channels=4, cells=1)
supernet, method = build_search(get_space("nasbench201"), config, num_classes=10, seed=0)
supernet(torch.randn(4, 3, 8, 8), method)[0].square().sum().backward()
assert all(parameter.grad is not None for parameter in method.parameters())
assert library(SOURCE, torch.float32) is None
"""


@pytest.mark.parametrize("setting", [{"MIDAS_NATIVE": "0"}, {"CC": "a-compiler-that-is-not-there"}])
def test_a_search_pass_runs_without_kernels(setting: dict[str, str]) -> None:
    command = [sys.executable, "-W", "error", "-c", PASSES_WITHOUT_KERNELS]
    subprocess.run(command, check=True, env=os.environ | setting)


def test_other_maps_are_left_to_torch() -> None:
    source = node_kernel.SOURCE
    x = channels_last(2, 3, 4, 4)
    assert not usable(source, x.half())
    assert not usable(source, x, x.double())
    assert not usable(source, torch.ones(2, 3, 4, 4))
    assert not usable(source, x[:0])
    assert not usable(source, torch.nn.Parameter(x))
    meta = torch.empty(2, 3, 4, 4, device="meta").to(memory_format=torch.channels_last)
    assert not usable(source, meta)
    assert library(source, torch.bfloat16) is None


def test_tensors_of_another_dtype_or_layout_are_not_compatible() -> None:
    x = torch.ones(2, 3)
    assert compatible(x, torch.ones(4), None)
    assert not compatible(x, torch.ones(4).double())
    assert not compatible(x, x.T)
