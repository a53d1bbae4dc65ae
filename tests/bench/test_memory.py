"""The memory of a step is known before it runs, and a run that would not fit is refused."""

import gc
import platform
import subprocess
import sys
import weakref
from dataclasses import replace

import pytest
import torch

from midas.bench.cases import StepCase
from midas.bench.steps import estimated_memory, peak_memory
from midas.data.prepared import DataMeta, Split
from midas.runs import memory
from midas.runs.errors import MidasError
from midas.search.bilevel import run_search
from midas.search.config import SearchConfig
from midas.spaces import get_space

DARTS = StepCase("darts", "darts", None, cells=3, batch=16)
NB201 = StepCase("nb201", "midas", 4, "nasbench201", cells=1)
NETWORK = StepCase("network", cell="darts_v2", channels=36, cells=8, batch=16)


@pytest.mark.parametrize(
    "case",
    [
        NB201,
        *(
            pytest.param(
                case, marks=pytest.mark.slow, id=f"{case.name}-{case.arm}-{case.patch}-{case.size}-{case.checkpointing}"
            )
            for case in (
                DARTS,
                replace(DARTS, arm="midas", patch=4),
                replace(DARTS, arm="drnas", cells=8, batch=8),
                replace(DARTS, cells=8, checkpointing=True),
                replace(DARTS, arm="midas", patch=4, cells=8, checkpointing=True),
                replace(DARTS, arm="midas", patch=2, cells=8, checkpointing=True),
                replace(NB201, cells=2, size=16, batch=128),
                replace(NB201, arm="gdas", batch=128),
                NETWORK,
                replace(NETWORK, size=64, batch=8),
                replace(NETWORK, cells=20, checkpointing=True),
            )
        ),
    ],
)
def test_the_estimate_is_within_a_fifth_of_what_is_measured(case: StepCase) -> None:
    assert estimated_memory(case) == pytest.approx(peak_memory(case), rel=0.2)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's allocator")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """Page faults of blocks of 24 MiB that are allocated, filled and freed ten times: in a process that keeps them, and not."""
    code = """
import resource, sys, torch
from midas.runs.memory import keep_freed
assert sys.argv[1] == "0" or keep_freed()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(12):
    if turn == 2:
        before = faults()
    blocks = [torch.ones(6 * 2**20) for _ in range(3)]
    del blocks
print(faults() - before)
"""
    given, kept = (
        int(subprocess.run([sys.executable, "-c", code, keep], check=True, capture_output=True, text=True).stdout)
        for keep in "01"
    )
    assert kept < given / 10


def test_what_is_kept_is_what_the_backward_pass_reads() -> None:
    x, w = torch.ones(10, 100, requires_grad=True), torch.ones(100, 100, requires_grad=True)
    assert memory.kept_bytes(lambda: (x @ w).sum(), [w]) == x.nbytes
    assert memory.kept_bytes(lambda: (x @ w).sum(), [w, x]) == 0
    assert memory.kept_bytes(lambda: (x * x).exp().sum(), []) == 2 * x.nbytes  # x once, and the result of exp


def test_of_modules_that_run_again_outputs_are_kept_and_the_largest_of_them() -> None:
    layers = torch.nn.Sequential(*(torch.nn.Sequential(torch.nn.Sigmoid(), torch.nn.Sigmoid()) for _ in range(5)))
    x = torch.ones(10, 100, requires_grad=True)
    assert memory.kept_bytes(lambda: layers(x).sum(), []) == 10 * x.nbytes
    assert memory.kept_bytes(lambda: layers(x).sum(), [], list(layers)) == (5 + 2) * x.nbytes


def test_a_search_that_would_not_fit_is_refused_with_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 2**20)
    train = Split(torch.zeros(64, 3, 8, 8, dtype=torch.uint8), torch.arange(64) % 2)
    meta = DataMeta(("a", "b"), 8, (0.5,) * 3, (0.3,) * 3, {"train": 64}, "0", "test", {}, 0)
    with pytest.raises(
        MidasError, match=r"takes about .* GiB of memory and 0.0 are free; make search.batch_size \(32\)"
    ):
        run_search(get_space("darts"), SearchConfig(channels=2, cells=3, batch_size=32), train, meta, seed=0)


def test_a_pass_that_was_counted_is_gone_afterwards() -> None:
    class Witness:
        pass

    x, w, alive = torch.ones(10, 100), torch.ones(100, 100, requires_grad=True), []

    def forward() -> torch.Tensor:
        witness = Witness()
        product = (x @ w).exp()
        product.grad_fn.register_hook(lambda *_, held=witness: None)  # the node holds its hooks
        alive.append(weakref.ref(witness))
        return product.sum()

    memory.kept_bytes(forward, [w])
    gc.collect()
    assert alive[0]() is None
