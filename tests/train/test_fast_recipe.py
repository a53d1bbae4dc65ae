"""What trains a good network within minutes: replicas, precision, stem, Muon, alternating flips."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_recipe_options import config
from test_train_loop import GENOTYPE, META, TRAIN, VAL, equal, run

from midas.data.augment import normalise
from midas.engine.checkpoint import Checkpoint
from midas.engine.distributed import Distributed
from midas.nets.network import MidasNet
from midas.train import cost
from midas.train.config import TargetConfig
from midas.train.start import initial_network
from midas.train.state import build_optimiser
from midas.train.training import Training

FAST = {"skeleton": "fast", "auxiliary_weight": 0, "drop_path": 0}


def test_two_replicas_equal_two_processes_worth_of_parts() -> None:
    options = config(**FAST)
    network = initial_network(GENOTYPE, options, 2, META.size)
    shared = config(**FAST, replicas=2)
    halves = config(**FAST, accumulate=2)
    steps = []
    for choice in (shared, halves):
        job = Training(copy.deepcopy(network), choice, TRAIN, VAL, META, "t", Distributed(), seed=0)
        job.begin_epoch(0, 0)
        sums = job.step(0, 0)
        steps.append((sums, job.train_state.parameters()))
    torch.testing.assert_close(steps[0][0], steps[1][0])
    for first, second in zip(steps[0][1], steps[1][1], strict=True):
        torch.testing.assert_close(first, second)


def test_a_training_with_replicas_is_the_same_every_time_and_goes_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {**FAST, "replicas": 2, "alternate_flip": True}
    options["precision"] = "bfloat16"
    first = run(epochs=2, **options)
    checkpoint = Checkpoint(tmp_path / "state", "key")
    run(checkpoint, epochs=2, **options)
    assert equal(first, run(checkpoint, epochs=2, **options))


def test_a_training_that_goes_on_keeps_the_precision_that_was_chosen() -> None:
    options = config(precision="auto", auxiliary_weight=0)
    network = initial_network(GENOTYPE, options, 2, META.size)
    job = Training(network, options, TRAIN, VAL, META, "t", Distributed(), seed=0)
    job.restore({**job.state(), "precision": "bfloat16"})
    job.begin_epoch(0, 0)
    assert job.precision == "bfloat16"


def test_replicas_need_a_recipe_without_random_draws_in_the_network() -> None:
    with pytest.raises(ValueError, match="replicas above 1 needs drop_path 0"):
        config(replicas=2, drop_path=0.2)
    with pytest.raises(ValueError, match="batch_size 16 cannot be divided"):
        config(replicas=3, drop_path=0)


def test_alternating_flips_mirror_each_image_in_every_other_epoch() -> None:
    options = config(**FAST, alternate_flip=True, augment={"flip": True})
    network = initial_network(GENOTYPE, options, 2, META.size)
    job = Training(network, options, TRAIN, VAL, META, "t", Distributed(), seed=0)
    epochs = []
    for epoch in (0, 1, 2):
        job.begin_epoch(epoch, 0)
        images = torch.empty(len(TRAIN), 3, 8, 8)
        for step in range(job.steps_per_epoch):
            images[job.batches[step]] = next(iter(job._parts(epoch, step)))[1]
        epochs.append(images)
    assert torch.equal(epochs[0], epochs[2])
    assert torch.equal(epochs[0], epochs[1].flip(3))
    mirrored = (epochs[0] != normalise(TRAIN.images, META.mean, META.std)).flatten(1).any(1)
    assert 16 < int(mirrored.sum()) < 48


def test_automatic_precision_leaves_the_training_as_it_would_be_without_timing() -> None:
    chosen = run(epochs=1, precision="auto", auxiliary_weight=0)
    named = run(epochs=1, precision=chosen.metrics["precision"], auxiliary_weight=0)
    assert equal(chosen, named)


@pytest.mark.parametrize(
    ("minutes", "channels", "epochs"),
    [(640, 32, 10), (1300, 32, 21), (63, 8, 16), (200, 16, 13), (1, 8, 1)],
)
def test_minutes_choose_the_widest_network_whose_epochs_fit_and_then_more_epochs(
    monkeypatch: pytest.MonkeyPatch, minutes: float, channels: int, epochs: int
) -> None:
    def timed(network: MidasNet, options: TargetConfig, *_: object) -> SimpleNamespace:
        return SimpleNamespace(hours=options.epochs * network.channels**2 / 1024)  # 1 at 32

    monkeypatch.setattr(cost, "estimate", timed)
    monkeypatch.setattr(cost, "TRAINED_SHARE", 1)
    options = config(channels=32, epochs=10, minutes=minutes)
    chosen = cost.fit_minutes(GENOTYPE, options, TRAIN, META)
    assert (chosen.channels, chosen.epochs, chosen.minutes) == (channels, epochs, None)


def test_minutes_keep_a_configuration_without_them() -> None:
    assert cost.fit_minutes(GENOTYPE, config(), TRAIN, META) == config()


def test_muon_gives_matrices_orthogonal_updates_and_learns() -> None:
    options = config(optimiser="muon", learning_rate=0.1, weight_decay=0, momentum=0)
    matrix = torch.nn.Parameter(torch.zeros(6, 6))
    bias = torch.nn.Parameter(torch.zeros(3))
    optimiser = build_optimiser([matrix, bias], options)
    matrix.grad = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    bias.grad = torch.ones(3)
    optimiser.step()
    singular = torch.linalg.svdvals(matrix.detach())
    assert singular.max() / singular.min() < 2  # of the gradient's: 25
    torch.testing.assert_close(bias.detach(), torch.full((3,), -0.025))
    result = run(epochs=6, optimiser="muon", learning_rate=0.02, auxiliary_weight=0)
    assert result.metrics["best_val_accuracy"] >= 0.9
