"""The memory of a step is known before it runs, and a run that would not fit is refused."""

import gc
import platform
import resource
import subprocess
import sys
import weakref

import pytest
import torch
from torch import Tensor

from midas.data.prepared import DataMeta, Split
from midas.engine import memory
from midas.io.errors import MidasError
from midas.search.config import SearchConfig
from midas.search.run import run_search
from midas.spaces import get_space

DARTS = {"method": "darts", "patch_size": None, "cells": 3, "batch": 16}
NB201 = {"space": "nasbench201", "method": "midas", "cells": 1}
NETWORK = {"cell": "darts_v2", "channels": 36, "cells": 8, "batch": 16}


@pytest.mark.parametrize(
    "options",
    [
        NB201,
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in (
                DARTS,
                {**DARTS, "method": "midas", "patch_size": 4},
                {**DARTS, "method": "drnas", "cells": 8, "batch": 8},
                {**DARTS, "method": "midas", "patch_size": 2, "cells": 8},
                {**NB201, "cells": 2, "size": 16, "batch": 128},
                {**NB201, "method": "gdas", "batch": 128},
                NETWORK,
                {**NETWORK, "size": 64, "batch": 8},
                {**NETWORK, "cells": 20},
            )
        ),
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_the_estimate_is_within_a_fifth_of_what_is_measured(options: dict[str, object]) -> None:
    """In a process of its own, whose peak is that of two steps."""
    code = f"from tests.engine.measured_steps import measure; print(*measure(**{options!r}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    peak, estimate = map(int, done.stdout.split())
    assert estimate == pytest.approx(peak, rel=0.2)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's allocator")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """Three blocks of 24 MiB are allocated, filled and freed ten times: few pages are new."""
    code = """
import resource, torch
from midas.engine.memory import keep_freed
assert keep_freed()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(12):
    if turn == 2:
        before = faults()
    blocks = [torch.ones(6 * 2**20) for _ in range(3)]
    del blocks
print(faults() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    pages = (
        10 * 3 * 24 * 2**20 // resource.getpagesize()
    )  # glibc alone would take most of them anew
    assert int(done.stdout) < pages / 10


def image_bytes(*shape: int) -> int:
    """Bytes of an image in float32."""
    return 4 * torch.Size(shape).numel()


def test_what_is_kept_is_what_the_backward_pass_reads() -> None:
    shape = (1, 10, 100)
    weight = torch.ones(100, 100, requires_grad=True)
    kept = memory.kept_bytes(lambda images, labels: (images @ weight).sum(), shape, [weight])
    assert kept == image_bytes(*shape)
    # the images once, and the result of exp
    scale = torch.ones((), requires_grad=True)
    kept = memory.kept_bytes(lambda images, labels: (images * scale).exp().sum(), shape, [scale])
    assert kept == 2 * image_bytes(*shape)


def test_what_is_kept_is_counted_for_each_image_with_labels_for_all_of_them() -> None:
    weight = torch.ones(10, 10, requires_grad=True, dtype=torch.float64)

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        assert images.shape == (memory.FEW, 3, 5, 10)
        assert labels.shape == (memory.FEW,)
        assert images.dtype == torch.float64
        return (images @ weight).sum()

    assert memory.kept_bytes(loss, (3, 5, 10), [weight]) == 2 * image_bytes(3, 5, 10)


def test_a_step_holds_the_whole_batch_and_the_copies_of_all_weights() -> None:
    weight = torch.ones(10, 10, requires_grad=True)
    step = memory.step_bytes(lambda images, labels: (images @ weight).sum(), 10, 8, [weight])
    kept = round(8 * image_bytes(3, 10, 10) * memory.IN_FLIGHT)
    assert step == kept + memory.COPIES * weight.nbytes + memory.KERNELS


def test_processes_of_one_machine_share_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = memory.available(torch.device("cpu"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory.available(torch.device("cpu")) == pytest.approx(alone / 4, rel=0.2)


def test_a_search_that_would_not_fit_is_refused_with_what_to_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 2**20)
    train = Split(torch.zeros(64, 3, 8, 8, dtype=torch.uint8), torch.arange(64) % 2)
    meta = DataMeta(("a", "b"), 8, (0.5,) * 3, (0.3,) * 3, {"train": 64}, "0", "test", {}, 0)
    config = SearchConfig(channels=2, cells=3, batch_size=32)
    message = r"takes about .* GiB of memory and 0.0 are free; make search.batch_size \(32\)"
    with pytest.raises(MidasError, match=message):
        run_search(get_space("darts"), config, train, meta, seed=0)


def test_a_pass_that_was_counted_is_gone_afterwards() -> None:
    class Witness:
        pass

    weight = torch.ones(100, 100, requires_grad=True)
    alive = []

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        witness = Witness()
        product = (images @ weight).exp()
        assert product.grad_fn is not None
        product.grad_fn.register_hook(lambda *_, held=witness: None)  # the node holds its hooks
        alive.append(weakref.ref(witness))
        return product.sum()

    memory.kept_bytes(loss, (1, 10, 100), [weight])
    gc.collect()
    assert alive[0]() is None
