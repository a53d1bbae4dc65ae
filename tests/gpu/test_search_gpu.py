"""A search on a GPU finds what it finds on a CPU, and its steps do not wait for the host. Skipped where there is no GPU."""

import pytest
import torch

from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.runs.progress import progress
from midas.runs.world import World
from midas.search.bilevel import SearchResult, build_search, run_search
from midas.search.brief import ShortTrainings
from midas.search.config import SearchConfig
from midas.search.decode import sample_weights
from midas.search.engine import Engine
from midas.search.halves import Halves
from midas.search.memory import search_bytes
from midas.spaces import get_space

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPU = World(device=torch.device("cuda", 0))
META = DataMeta(("dark", "light"), 16, (0.5,) * 3, (0.3,) * 3, {"train": 512}, "0", "test", {}, 0)
ARMS = ["midas", "darts", "darts-pairs", "beta-darts"]


def split(count: int = 512, size: int = 16) -> Split:
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 200, (count, size, size, 3), generator=torch.Generator().manual_seed(0))
    return Split((noise + 50 * labels.view(-1, 1, 1, 1)).to(torch.uint8).permute(0, 3, 1, 2), labels)


def recipe(**changes) -> SearchConfig:
    small = {"channels": 8, "cells": 3, "epochs": 2, "batch_size": 32, "patch_size": 4, "monitor_images": 64}
    return SearchConfig(**{**small, "augment": {"pad": 1, "flip": True, "cutout": 4}, **changes})


def searched(world: World, space: str = "darts", **changes) -> SearchResult:
    return run_search(get_space(space), recipe(**changes), split(), META, seed=0, world=world)


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("arm", [*ARMS, "drnas", "gdas", "random"])
@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_every_arm_searches_on_a_gpu(arm: str, space: str, graphs: bool) -> None:
    result = searched(GPU, space, arm=arm, cuda_graphs=graphs)
    assert result.history[-1]["weight_loss"] < result.history[0]["weight_loss"]
    assert next(result.supernet.parameters()).is_cuda


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("space_name", ["darts", "nasbench201"])
def test_logits_and_gradients_are_those_of_a_cpu(arm: str, space_name: str) -> None:
    config, space = recipe(arm=arm), get_space(space_name).without(["none"])
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen = []
    for device in (torch.device("cpu"), GPU.device):
        supernet, built = (module.to(device).double() for module in build_search(space, config, 2, seed=0))
        logits, _ = supernet(images.to(device, memory_format=torch.channels_last), built)
        logits.logsumexp(1).sum().backward()
        seen.append([x.cpu() for x in (logits.detach(), *(p.grad for m in (supernet, built) for p in m.parameters()))])
    for here, there in zip(*seen, strict=True):
        torch.testing.assert_close(there, here, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("arm", ARMS)
def test_the_losses_are_those_of_a_cpu(arm: str) -> None:
    there, here = (searched(world, arm=arm, epochs=1).history[0] for world in (GPU, World()))
    for name in ("weight_loss", "arch_loss"):
        assert there[name] == pytest.approx(here[name], rel=2e-2), name  # after sixteen steps in float32


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_replayed_steps_are_the_steps_themselves(arm: str, space: str) -> None:
    recorded, plain = (searched(GPU, space, arm=arm, cuda_graphs=graphs) for graphs in (True, False))
    for row, other in zip(recorded.history, plain.history, strict=True):
        assert row["weight_loss"] == pytest.approx(other["weight_loss"], rel=1e-5)
        assert row["arch_loss"] == pytest.approx(other["arch_loss"], rel=1e-5)
        assert row["genotype"] == other["genotype"]


@pytest.mark.parametrize("options", [{"checkpointing": True}, {"accumulate": 2}, {"warmup_epochs": 1}, {"partial": 2}])
def test_options_that_save_memory_search_on_a_gpu(options: dict) -> None:
    assert len(searched(GPU, cuda_graphs=True, **options).history) == 2


def test_second_order_searches_on_a_gpu() -> None:
    assert len(searched(GPU, arm="darts", second_order=True).history) == 2


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
@pytest.mark.parametrize("arm", ["midas", "darts"])
@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_fewer_bits_change_a_search_a_little(arm: str, precision: str, space: str) -> None:
    few, all_ = (
        searched(GPU, space, arm=arm, precision=p, epochs=1).history[0]["weight_loss"] for p in (precision, "float32")
    )
    assert few == pytest.approx(all_, rel=0.1)


def engine(**changes) -> Engine:
    config, space = recipe(**changes), get_space("darts").without(["none"])
    supernet, arm = build_search(space, config, 2, seed=0)
    return Engine(space, supernet.to(GPU.device), arm.to(GPU.device), config, Halves(split(), config), META, 0, GPU)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("arm", ARMS)
def test_no_step_waits_for_the_gpu(arm: str, graphs: bool) -> None:
    searching = engine(arm=arm, cuda_graphs=graphs)
    with progress("gpu", 16, quiet=True) as report:
        searching.epoch(0, report)  # recorded
        batches = [
            searching._images(half, torch.arange(32), torch.Generator().manual_seed(0))
            for half in (searching.halves.architecture, searching.halves.weights)
        ]
        torch.cuda.synchronize()
        try:
            torch.cuda.set_sync_debug_mode("error")
            for _ in range(3):
                searching._images(searching.halves.weights, torch.arange(32), torch.Generator().manual_seed(0))
                searching._architecture_step(searching.arch_optimiser, *batches)
                searching._weight_step(batches[1])
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_a_search_repeats_itself() -> None:
    one, other = (searched(GPU) for _ in range(2))
    assert one.history == other.history


def test_decoding_and_short_trainings_run_on_a_gpu() -> None:
    result = searched(GPU, "nasbench201")
    weights = sample_weights(result.supernet, result.arm, [torch.zeros(4, 3, 16, 16)])
    assert {node.a.device.type for cells in weights.values() for nodes in cells for node in nodes} == {"cpu"}
    config, cell = (
        recipe(),
        Genotype.from_arch("|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"),
    )
    halves, space = Halves(split(), config), get_space("nasbench201")
    there, here, recorded = (
        ShortTrainings(space, how, [2], 1, halves, META, 0, device)(cell)
        for how, device in (
            (config, GPU.device),
            (config, torch.device("cpu")),
            (recipe(cuda_graphs=True), GPU.device),
        )
    )
    assert there.loss == pytest.approx(here.loss, rel=0.05)
    assert recorded.loss == pytest.approx(there.loss, rel=1e-4)


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
@pytest.mark.parametrize("arm", ["midas", "darts"])
def test_the_memory_of_a_step_is_estimated(arm: str, space: str) -> None:
    config, chosen = recipe(arm=arm, channels=16, batch_size=128), get_space(space).without(["none"])
    before = torch.cuda.memory_allocated()
    supernet, built = build_search(chosen, config, 2, seed=0)
    supernet.to(GPU.device), built.to(GPU.device)
    expected = search_bytes(supernet, built, 16, 128)
    searching = Engine(chosen, supernet, built, config, Halves(split(), config), META, 0, GPU)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    with progress("gpu", 16, quiet=True) as report:
        searching.epoch(0, report)
    assert expected == pytest.approx(torch.cuda.max_memory_allocated() - before, rel=0.2)
