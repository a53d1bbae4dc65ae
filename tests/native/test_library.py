"""Kernels are built where there is a compiler, once, and everything runs where there is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from midas.native import library as native
from midas.native.library import library, usable

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="no C compiler, or not Linux: nothing is built"
)
unkept = library.__wrapped__


@needs_compiler
@pytest.mark.parametrize("name", ["node", "norm"])
def test_where_there_is_a_compiler_the_kernels_are_used(name: str) -> None:
    x = torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert usable(name, x, x)
    assert usable(name, x.double())


@needs_compiler
def test_a_kernel_is_built_once_and_then_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert unkept("norm", torch.float32) is not None
    (built,) = (tmp_path / "midas").iterdir()
    before = built.stat().st_mtime_ns
    assert unkept("norm", torch.float32) is not None
    assert [p.stat().st_mtime_ns for p in (tmp_path / "midas").iterdir()] == [before]


@needs_compiler
def test_their_threads_are_torchs() -> None:
    """One OpenMP in the process: two would each start threads of their own."""
    x = "torch.ones(2, 16, 4, 4).to(memory_format=torch.channels_last)"
    code = f"import torch; from midas.native.library import usable; assert usable('norm', {x})\n" + (
        "print({line.split()[-1] for line in open('/proc/self/maps') if 'gomp' in line or 'iomp' in line})"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.count("omp") == 1


def test_a_compiler_that_fails_is_told_of_and_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text('#!/bin/sh\ntest "$1" = -v || { echo "no space left" >&2; exit 1; }\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        with pytest.warns(UserWarning, match=r"norm\.c could not be built.*MIDAS_NATIVE=0 does without.*no space left"):
            assert unkept("norm", torch.float32) is None


@pytest.mark.parametrize("setting", [{"MIDAS_NATIVE": "0"}, {"CC": "a-compiler-that-is-not-there"}])
def test_without_kernels_a_search_step_runs(setting: dict[str, str]) -> None:
    code = (
        "from midas.bench.cases import StepCase, build_step\n"
        "build_step(StepCase('step', space='nasbench201', channels=4, cells=1, size=8, batch=4))()\n"
        "from midas.native.library import library; import torch; assert library('node', torch.float32) is None"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=os.environ | setting)


def test_what_kernels_are_not_written_for_is_left_to_torch() -> None:
    x = torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert not usable("node", x.half())
    assert not usable("node", x, x.double())
    assert not usable("node", torch.ones(2, 3, 4, 4))
    assert not usable("node", x[:0])
    assert not usable("node", torch.nn.Parameter(x))
    assert not usable("node", torch.empty(2, 3, 4, 4, device="meta").to(memory_format=torch.channels_last))
    assert native.library("node", torch.bfloat16) is None
