"""A search on a GPU comes to what it comes to on a CPU, and its steps do not wait for the host.

Skipped where there is no GPU.
"""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from midas.data.prepared import DataMeta, Split
from midas.decode.decode import sample_weights
from midas.engine.checkpoint import Checkpoint
from midas.engine.distributed import Distributed
from midas.genotype import Genotype
from midas.proxy.training import ProxyTraining
from midas.search.bilevel import BilevelSearch, BilevelSplit
from midas.search.config import SearchConfig
from midas.search.run import SearchResult, build_search, search_bytes
from midas.spaces import get_space
from tests.decode.decoding import monitored_search

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPU = Distributed(device=torch.device("cuda", 0))
META = DataMeta(("dark", "light"), 16, (0.5,) * 3, (0.3,) * 3, {"train": 512}, "0", "test", {}, 0)
METHODS = ["midas", "darts", "darts-pairs", "beta-darts"]
CELL = Genotype.from_arch(
    "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"
)


def dark_and_light() -> Split:
    labels = torch.arange(512) % 2
    noise = torch.randint(0, 200, (512, 16, 16, 3), generator=torch.Generator().manual_seed(0))
    images = (noise + 50 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return Split(images.permute(0, 3, 1, 2), labels)


def recipe(**changes: Any) -> SearchConfig:
    small = {
        "channels": 8,
        "cells": 3,
        "epochs": 2,
        "batch_size": 32,
        "patch_size": 4,
        "monitor_images": 64,
        "augment": {"pad": 1, "flip": True, "cutout": 4},
    }
    return SearchConfig(**{**small, **changes})


def searched(
    distributed: Distributed = GPU,
    space: str = "darts",
    checkpoint: Checkpoint | None = None,
    **changes: Any,
) -> SearchResult:
    return monitored_search(
        get_space(space),
        recipe(**changes),
        dark_and_light(),
        META,
        distributed=distributed,
        checkpoint=checkpoint,
    )


def search_on_gpu(space_name: str = "darts", **changes: Any) -> BilevelSearch:
    config = recipe(**changes)
    space = get_space(space_name).without(["none"])
    supernet, method = build_search(space, config, 2, seed=0)
    split = BilevelSplit(dark_and_light(), config)
    supernet.to(GPU.device)
    method.to(GPU.device)
    return BilevelSearch(supernet, method, config, split, META, 0, GPU)


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("method", [*METHODS, "drnas", "gdas", "random"])
@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_every_method_searches_on_a_gpu(method: str, space: str, graphs: bool) -> None:
    result = searched(space=space, method=method, cuda_graphs=graphs)
    assert result.history[-1]["weight_loss"] < result.history[0]["weight_loss"]
    assert next(result.supernet.parameters()).is_cuda


@pytest.mark.parametrize("method_name", METHODS)
@pytest.mark.parametrize("space_name", ["darts", "nasbench201"])
def test_logits_and_gradients_are_those_of_a_cpu(method_name: str, space_name: str) -> None:
    space = get_space(space_name).without(["none"])
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64, generator=generator)
    results = []
    for device in (torch.device("cpu"), GPU.device):
        built = build_search(space, recipe(method=method_name), 2, seed=0)
        supernet, method = (module.to(device).double() for module in built)
        logits, _ = supernet(images.to(device, memory_format=torch.channels_last), method)
        logits.logsumexp(1).sum().backward()
        parameters = [*supernet.parameters(), *method.parameters()]
        tensors = [logits.detach(), *(parameter.grad for parameter in parameters)]
        results.append([tensor.cpu() for tensor in tensors])
    for on_cpu, on_gpu in zip(*results, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_the_losses_are_those_of_a_cpu(method: str) -> None:
    on_gpu = searched(GPU, method=method, epochs=1).history[0]
    on_cpu = searched(Distributed(), method=method, epochs=1).history[0]
    for name in ("weight_loss", "arch_loss"):  # after sixteen steps in float32
        assert on_gpu[name] == pytest.approx(on_cpu[name], rel=2e-2), name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_replayed_steps_are_the_steps_themselves(method: str, space: str) -> None:
    recorded = searched(space=space, method=method, cuda_graphs=True)
    plain = searched(space=space, method=method, cuda_graphs=False)
    for row, other in zip(recorded.history, plain.history, strict=True):
        assert row["weight_loss"] == pytest.approx(other["weight_loss"], rel=1e-5)
        assert row["arch_loss"] == pytest.approx(other["arch_loss"], rel=1e-5)
        assert row["genotype"] == other["genotype"]


@pytest.mark.parametrize("options", [{"accumulate": 2}, {"warmup_epochs": 1}])
def test_options_search_on_a_gpu(options: dict[str, Any]) -> None:
    assert len(searched(cuda_graphs=True, **options).history) == 2


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
@pytest.mark.parametrize("method", ["midas", "darts"])
@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_fewer_bits_change_a_search_a_little(method: str, precision: str, space: str) -> None:
    few, exact = (
        searched(space=space, method=method, precision=p, epochs=1).history[0]["weight_loss"]
        for p in (precision, "float32")
    )
    assert few == pytest.approx(exact, rel=0.1)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_no_step_waits_for_the_gpu(method: str, graphs: bool) -> None:
    search = search_on_gpu(method=method, cuda_graphs=graphs)
    search.begin_epoch(0, 0)
    for step in range(3):  # recorded
        search.step(0, step)
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("error")
        for step in range(3, 6):
            search.step(0, step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_search_repeats_itself() -> None:
    assert searched().history == searched().history


@pytest.mark.parametrize(
    ("space", "options"),
    [
        ("nasbench201", {"method": "drnas"}),
        ("nasbench201", {"method": "gdas"}),
        ("nasbench201", {"method": "random"}),
        ("rdarts-s4", {"method": "darts", "exclude": []}),
        ("rdarts-s4", {"method": "midas", "exclude": [], "cuda_graphs": True}),
    ],
)
def test_a_search_stopped_within_an_epoch_goes_on_to_the_same_history(
    space: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Methods and `noise` draw on the GPU, whose generator a checkpoint holds."""

    class Stopped(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    def step_and_signal(search: BilevelSearch, epoch: int, step: int) -> torch.Tensor:
        if (epoch, step) == (1, 2):
            signal.raise_signal(signal.SIGTERM)
        return plain_step(search, epoch, step)

    whole = searched(space=space, **options)
    plain_step = BilevelSearch.step
    checkpoint = Checkpoint(tmp_path, "print")
    monkeypatch.setattr("midas.engine.loop.READ_EVERY", 3)
    former = signal.signal(signal.SIGTERM, stop)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(BilevelSearch, "step", step_and_signal)
            with pytest.raises(Stopped):
                searched(space=space, checkpoint=checkpoint, **options)
    finally:
        signal.signal(signal.SIGTERM, former)
    saved = checkpoint.load()
    assert saved is not None
    assert saved["position"]["step"] == 3
    resumed = searched(space=space, checkpoint=checkpoint, **options)
    for row, other in zip(resumed.history, whole.history, strict=True):
        assert row["genotype"] == other["genotype"]
        assert row["weight_loss"] == pytest.approx(other["weight_loss"], rel=1e-5)


def test_decoding_and_proxy_trainings_run_on_a_gpu() -> None:
    result = searched(space="nasbench201")
    samples = sample_weights(result.supernet, result.method, [torch.zeros(4, 3, 16, 16)])
    nodes = [node for cells in samples.values() for nodes in cells for node in nodes]
    assert {node.op_weights.device.type for node in nodes} == {"cpu"}
    split = BilevelSplit(dark_and_light(), recipe())

    def loss(config: SearchConfig, device: torch.device) -> float:
        space = get_space("nasbench201")
        return ProxyTraining(space, config, [2], 1, split, META, 0, device)(CELL).loss

    on_gpu = loss(recipe(), GPU.device)
    assert on_gpu == pytest.approx(loss(recipe(), torch.device("cpu")), rel=0.05)
    assert loss(recipe(cuda_graphs=True), GPU.device) == pytest.approx(on_gpu, rel=1e-4)


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
@pytest.mark.parametrize("method", ["midas", "darts"])
def test_the_memory_of_a_step_is_estimated(method: str, space: str) -> None:
    before = torch.cuda.memory_allocated()
    search = search_on_gpu(space, method=method, channels=16, batch_size=128)
    expected = search_bytes(search.supernet, search.method, 16, 128)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    search.begin_epoch(0, 0)
    for step in range(search.steps_per_epoch):
        search.step(0, step)
    torch.cuda.synchronize()
    assert expected == pytest.approx(torch.cuda.max_memory_allocated() - before, rel=0.2)
