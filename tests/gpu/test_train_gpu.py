"""A training on a GPU comes to what it comes to on a CPU. Skipped where there is no GPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from midas.data.prepared import DataMeta, Split
from midas.engine.checkpoint import Checkpoint
from midas.engine.distributed import Distributed
from midas.genotype import Genotype
from midas.train.config import TargetConfig
from midas.train.cost import estimate
from midas.train.run import TrainResult, train, train_bytes
from midas.train.start import initial_network
from midas.train.training import Training
from midas.zoo.registry import ZOO

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPU = Distributed(device=torch.device("cuda", 0))
META = DataMeta(("dark", "light"), 32, (0.5,) * 3, (0.3,) * 3, {"train": 256}, "0", "test", {}, 0)
CELL = Genotype.from_value(ZOO["darts_v2"]["genotype"])


def split(count: int = 256, size: int = 32) -> Split:
    labels = torch.arange(count) % 2
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 200, (count, size, size, 3), generator=generator)
    images = (noise + 50 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return Split(images.permute(0, 3, 1, 2), labels)


def recipe(**changes: Any) -> TargetConfig:
    return TargetConfig(**{"channels": 8, "cells": 5, "epochs": 3, "batch_size": 32, **changes})


def trained(
    distributed: Distributed, checkpoint: Checkpoint | None = None, **changes: Any
) -> TrainResult:
    config = recipe(**changes)
    network = initial_network(CELL, config, 2).to(distributed.device)
    return train(network, config, split(), split(64), META, checkpoint, distributed=distributed)


def test_the_losses_are_those_of_a_cpu() -> None:
    on_gpu = trained(GPU, drop_path=0.0).history[0]
    on_cpu = trained(Distributed(), drop_path=0.0).history[0]
    for name in ("train_loss", "val_loss"):
        assert on_gpu[name] == pytest.approx(on_cpu[name], rel=2e-2), name


# of the auxiliary head, which is not deterministic
@pytest.mark.filterwarnings("ignore:adaptive_avg_pool2d_backward_cuda")
@pytest.mark.parametrize(
    "options",
    [{}, {"mixup": 0.2, "cutmix": 1.0}, {"start_size": 16, "ema": 0.9}, {"auxiliary_weight": 0.0}],
)
def test_replayed_steps_are_the_steps_themselves(options: dict[str, Any]) -> None:
    recorded, plain = (
        trained(GPU, cuda_graphs=graphs, **options).history for graphs in (True, False)
    )
    assert [row["train_loss"] for row in recorded] == pytest.approx(
        [row["train_loss"] for row in plain], rel=1e-4
    )


def test_a_training_repeats_itself() -> None:
    first = trained(GPU)
    second = trained(GPU)
    assert first.history == second.history
    assert all(torch.equal(weight, second.last[name]) for name, weight in first.last.items())


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "tf32"},
        {"precision": "bfloat16"},
        {"checkpointing": True},
        {"accumulate": 2},
        {"optimiser": "adamw", "learning_rate": 1e-3},
    ],
)
def test_options_train_on_a_gpu(options: dict[str, Any]) -> None:
    history = trained(GPU, **options).history
    assert history[-1]["train_loss"] < history[0]["train_loss"]


# torch's own, on newer versions of Python and by its tracing
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compiled_cells_train_on_a_gpu() -> None:
    assert len(trained(GPU, compile=True, epochs=2, cells=3).history) == 2


class Cut(Checkpoint):
    """Ends the run once an epoch is saved."""

    def save(self, state: Mapping[str, Any]) -> None:
        super().save(state)
        raise InterruptedError


def test_a_checkpoint_goes_on_where_it_stands(tmp_path: Path) -> None:
    whole = trained(GPU)
    with pytest.raises(InterruptedError):
        trained(GPU, Cut(tmp_path, "fingerprint"))
    rest = trained(GPU, Checkpoint(tmp_path, "fingerprint"))
    assert rest.history == whole.history
    assert all(torch.equal(rest.last[name], whole.last[name]) for name in whole.last)


def test_what_a_training_costs_is_said_before() -> None:
    config = recipe(channels=16, cells=8, batch_size=64)
    torch.cuda.reset_peak_memory_stats()
    network = initial_network(CELL, config, 2).to(GPU.device)
    cost = estimate(network, config, split(), META, GPU)
    assert 0 < cost.step_seconds < 5
    assert cost.memory > 2**20


def test_the_memory_of_a_step_is_estimated() -> None:
    config = recipe(channels=16, cells=8, batch_size=128)
    before = torch.cuda.memory_allocated()
    network = initial_network(CELL, config, 2).to(GPU.device)
    training = Training(network, config, split(), split(64), META, "gpu", GPU, seed=0)
    expected = train_bytes(training.train_state, 32, 128)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    training.begin_epoch(0, 0)
    for step in range(2):
        training.step(0, step)
    assert expected == pytest.approx(torch.cuda.max_memory_allocated() - before, rel=0.2)
