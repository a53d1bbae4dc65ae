"""Learning rate, drop path and optimiser against their definitions."""

import math
from typing import Any

import pytest
import torch

from midas.engine.schedule import build_scheduler
from midas.train.config import TargetConfig
from midas.train.state import build_optimiser


def rates(steps_per_epoch: int, **arguments: Any) -> list[float]:
    """The learning rate of every step of a whole training."""
    config = TargetConfig(**arguments)
    optimiser = build_optimiser([torch.nn.Parameter(torch.zeros(1))], config)
    steps = config.epochs * steps_per_epoch
    warmup = config.warmup_epochs * steps_per_epoch
    scheduler = build_scheduler(optimiser, steps, config.min_learning_rate, warmup, config.schedule)
    result = []
    for step in range(steps):
        scheduler.step_update(step)
        result.append(optimiser.param_groups[0]["lr"])
    return result


def test_the_rate_of_every_step_of_the_600_epochs_is_the_cosine() -> None:
    steps_per_epoch = 50_000 // 96
    total = 600 * steps_per_epoch
    expected = [0.025 * (1 + math.cos(math.pi * step / total)) / 2 for step in range(total)]
    assert rates(steps_per_epoch) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("size", [32, 33, 34, 42, 50, 64, 98, 225])
def test_images_grow_to_their_full_size_whatever_it_is(size: int) -> None:
    config = TargetConfig(epochs=9, start_size=16)
    sides = [config.size_at(epoch, size) for epoch in range(9)]
    assert sides == sorted(sides)
    assert sides[0] == 16
    assert sides[-4:] == [size] * 4


def test_a_single_epoch_has_the_full_size() -> None:
    assert TargetConfig(epochs=1, start_size=16).size_at(0, 32) == 32


def test_warm_up_rises_linearly_and_hands_over_to_the_cosine() -> None:
    learning_rates = rates(10, epochs=20, warmup_epochs=5, learning_rate=0.5, min_learning_rate=0.1)
    rising = [0.02 + (0.5 - 0.02) * step / 50 for step in range(50)]
    falling = [0.1 + 0.4 * (1 + math.cos(math.pi * step / 150)) / 2 for step in range(150)]
    assert learning_rates == pytest.approx(rising + falling, rel=1e-12)


def test_the_linear_schedule_falls_in_a_straight_line_after_the_warm_up() -> None:
    learning_rates = rates(10, epochs=20, warmup_epochs=5, learning_rate=0.5, schedule="linear")
    rising = [0.02 + (0.5 - 0.02) * step / 50 for step in range(50)]
    assert learning_rates == pytest.approx(
        rising + [0.5 * (150 - step) / 150 for step in range(150)], rel=1e-12
    )


def test_adamw_decays_apart_from_its_gradient() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = build_optimiser(
        [weight], TargetConfig(optimiser="adamw", weight_decay=0.1, learning_rate=0.5)
    )
    weight.grad = torch.zeros(2)
    optimiser.step()
    assert isinstance(optimiser, torch.optim.AdamW)
    torch.testing.assert_close(weight.data, torch.full((2,), 0.95))


def test_one_cycle_rises_over_thirty_percent_of_the_steps() -> None:
    learning_rates = rates(10, epochs=10, schedule="onecycle", learning_rate=1.0)
    assert learning_rates.index(max(learning_rates)) == 30
    assert (learning_rates[0], max(learning_rates)) == (1 / 25, 1.0)
    assert learning_rates[30:] == pytest.approx(
        [(1 + math.cos(math.pi * step / 70)) / 2 for step in range(70)], rel=1e-12
    )


def test_drop_path_rises_linearly_with_the_epochs() -> None:
    probabilities = [TargetConfig().drop_path_at(epoch) for epoch in range(600)]
    assert probabilities == pytest.approx([0.2 * epoch / 600 for epoch in range(600)], rel=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_optimiser_is_sgd_that_decays_every_parameter(nesterov: bool) -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    bias = torch.nn.Parameter(torch.ones(2))
    optimiser = build_optimiser(
        [weight, bias], TargetConfig(nesterov=nesterov, weight_decay=0.1, learning_rate=0.5)
    )
    assert type(optimiser) is torch.optim.SGD
    assert [group["nesterov"] for group in optimiser.param_groups] == [nesterov]
    weight.grad = torch.zeros(2, 2)
    bias.grad = torch.zeros(2)
    optimiser.step()
    moved = 0.5 * 0.1 * (1.9 if nesterov else 1)  # Nesterov looks one momentum step ahead
    torch.testing.assert_close(weight.data, torch.full((2, 2), 1 - moved))
    torch.testing.assert_close(bias.data, torch.full((2,), 1 - moved))
