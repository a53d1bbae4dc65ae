"""What a practitioner switches on: mixing, early stopping, fine-tuning, limits, a dry run."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_train_loop import GENOTYPE, META, RECIPE, TRAIN, VAL, equal, run
from torch import nn

from midas.engine.checkpoint import Checkpoint
from midas.engine.distributed import Distributed
from midas.io.errors import MidasError, ParamsError
from midas.nets.build import count_macs, count_parameters
from midas.train import training
from midas.train.config import TargetConfig
from midas.train.cost import estimate
from midas.train.mixing import Mix
from midas.train.start import initial_network
from midas.train.state import new_state
from midas.train.training import Training
from midas.train.validate import Validation


def config(**changes: Any) -> TargetConfig:
    return TargetConfig(**{**RECIPE, **changes})


def test_mixing_gives_label_distributions_that_follow_from_the_step() -> None:
    mix = Mix(config(mixup=0.4, cutmix=1.0), 2)
    images = torch.rand(16, 3, 8, 8)
    labels = torch.arange(16) % 2
    once, again, other = (mix(images.clone(), labels, 0, step, 0) for step in (3, 3, 4))
    torch.testing.assert_close(once[1].sum(1), torch.ones(16))
    assert torch.equal(once[0], again[0])
    assert not torch.equal(once[0], other[0])


def test_without_mixing_batches_are_left_alone() -> None:
    images = torch.rand(4, 3, 8, 8)
    labels = torch.arange(4) % 2
    assert Mix(config(), 2)(images, labels, 0, 0, 0) == (images, labels)


def test_mixing_pairs_the_images_of_each_processes_part() -> None:
    options = config(mixup=0.2, batch_size=12, auxiliary_weight=0)
    network = initial_network(GENOTYPE, options, 2, META.size)
    Training(network, options, TRAIN, VAL, META, "two", Distributed(0, 2), seed=0)
    with pytest.raises(ParamsError, match=r"^four: .* a part of the batch \(12 / 4\) must be even"):
        Training(network, options, TRAIN, VAL, META, "four", Distributed(0, 4), seed=0)


def test_a_mixed_training_learns_and_is_the_same_every_time() -> None:
    first = run(epochs=8, mixup=0.2, cutmix=0.5, auxiliary_weight=0)
    assert first.metrics["best_val_accuracy"] >= 0.9
    assert equal(first, run(epochs=8, mixup=0.2, cutmix=0.5, auxiliary_weight=0))


def test_patience_ends_a_training_that_does_not_get_better(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.5, 0.7, 0.6, 0.6, 0.9])
    monkeypatch.setattr(training, "evaluate", lambda *_: Validation(1.0, next(accuracies), 0.0))
    result = run(epochs=5, patience=2)
    assert [row["val_accuracy"] for row in result.history] == [0.5, 0.7, 0.6, 0.6]
    assert result.metrics["best_epoch"] == 2


def test_patience_does_not_wait_for_an_accuracy_that_is_only_reached_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accuracies = iter([0.5, 0.7, 0.6, 0.7, 0.7])
    monkeypatch.setattr(training, "evaluate", lambda *_: Validation(1.0, next(accuracies), 0.0))
    result = run(epochs=5, patience=2)
    assert [row["val_accuracy"] for row in result.history] == [0.5, 0.7, 0.6, 0.7]
    assert result.metrics["best_epoch"] == 4


def test_fine_tuning_starts_from_the_weights_of_a_file(tmp_path: Path) -> None:
    trained = run(epochs=1).best
    save_file(
        {name: weight.contiguous() for name, weight in trained.items()},
        tmp_path / "best.safetensors",
    )
    start = config(weights=str(tmp_path / "best.safetensors"))
    same = initial_network(GENOTYPE, start, 2)
    other = initial_network(GENOTYPE, start, 5)
    assert all(torch.equal(same.state_dict()[name], weight) for name, weight in trained.items())
    assert other.classifier.weight.shape[0] == 5
    assert torch.equal(other.state_dict()["stem0.0.weight"], trained["stem0.0.weight"])
    with pytest.raises(MidasError, match="are not of the same cell, width and depth"):
        initial_network(GENOTYPE, config(weights=start.weights, channels=8), 2)


def test_the_widest_network_under_a_limit_of_multiply_adds_is_trained() -> None:
    limit = count_macs(initial_network(GENOTYPE, config(channels=9), 2), (3, 8, 8))
    for allowed, channels in ((limit, 9), (limit - 1, 8), (10 * limit, 16)):
        assert (
            initial_network(GENOTYPE, config(channels=16, max_macs=allowed), 2, 8).channels
            == channels
        )
    assert initial_network(GENOTYPE, config(channels=1, max_macs=10 * limit), 2, 8).channels == 1
    with pytest.raises(ParamsError, match="the narrowest network takes"):
        initial_network(GENOTYPE, config(max_macs=1000), 2, 8)


def test_a_dry_run_says_what_a_training_costs() -> None:
    network = initial_network(GENOTYPE, config(), 2)
    cost = estimate(network, config(), TRAIN, META)
    assert (cost.parameters, cost.macs) == (
        count_parameters(network),
        count_macs(network, (3, 8, 8)),
    )
    assert cost.steps == 4 * (64 // 16)
    assert cost.hours == pytest.approx(cost.step_seconds * cost.steps / 3600)
    assert 2**26 < cost.memory < 2**35


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # by torch's tracing
def test_compiled_cells_learn_the_same_but_for_rounding() -> None:
    plain, compiled = run(), run(compile=True)
    assert compiled.best.keys() == plain.best.keys()
    for row, other in zip(plain.history, compiled.history, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-2, abs=1e-4)
    assert equal(compiled, run(compile=True))


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_fewer_bits_change_the_losses_a_little_and_the_weights_stay_float32(precision: str) -> None:
    exact, lower = run(), run(precision=precision)
    assert {tensor.dtype for tensor in lower.best.values()} == {
        tensor.dtype for tensor in exact.best.values()
    }
    losses = [result.history[0]["train_loss"] for result in (exact, lower)]
    assert losses[0] == pytest.approx(losses[1], rel=0.2)
    assert (losses[0] == losses[1]) == (precision == "tf32")  # which a CPU does not know
    assert torch.backends.cudnn.allow_tf32
    run()
    assert not torch.backends.cudnn.allow_tf32  # float32 means float32


def test_synchronised_batch_norm_is_refused_on_a_cpu_in_one_line() -> None:
    with pytest.raises(
        ParamsError, match="sync_batch_norm is for GPUs, and this process computes on a CPU"
    ):
        run(sync_batch_norm=True)


def test_synchronised_batch_norm_replaces_every_batch_norm_and_no_parameter() -> None:
    plain = initial_network(GENOTYPE, config(), 2)
    network = initial_network(GENOTYPE, config(), 2)
    state = new_state(network, config(sync_batch_norm=True))
    assert len(state.modules) == 2
    kinds = [type(module) for module in state.modules.modules()]
    assert nn.BatchNorm2d not in kinds
    assert kinds.count(nn.SyncBatchNorm) == 2 + sum(
        isinstance(m, nn.BatchNorm2d) for m in plain.modules()
    )
    weights = state.weights()
    assert weights.keys() == plain.state_dict().keys()
    assert all(torch.equal(weights[name], weight) for name, weight in plain.state_dict().items())
    trained = {id(p) for group in state.optimiser.param_groups for p in group["params"]}
    assert trained == {id(p) for p in state.parameters()}
    torch.testing.assert_close(
        state.network.eval()(torch.ones(1, 3, 8, 8)), plain.eval()(torch.ones(1, 3, 8, 8))
    )


@pytest.mark.parametrize(
    "options", [{}, {"ema": 0.9, "mixup": 0.2, "drop_path": 0.3}, {"accumulate": 2, "cutmix": 1.0}]
)
def test_a_signal_in_the_middle_of_an_epoch_loses_no_step(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(**options)
    plain_step = Training.step
    calls = 0

    def signalled(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:  # the second step of the second epoch
            signal.raise_signal(signal.SIGTERM)
        return plain_step(*arguments)

    def stop(*_: object) -> None:
        raise InterruptedError

    former = signal.signal(signal.SIGTERM, stop)
    monkeypatch.setattr(Training, "step", signalled)
    try:
        with pytest.raises(InterruptedError):
            run(Checkpoint(tmp_path, "print"), **options)
    finally:
        signal.signal(signal.SIGTERM, former)
    saved = Checkpoint(tmp_path, "print").load()
    assert saved is not None
    position = saved["position"]
    assert (len(position["history"]), position["step"], calls) == (1, 2, 6)
    assert equal(whole, run(Checkpoint(tmp_path, "print"), **options))
    assert calls == 16  # no step was run twice
