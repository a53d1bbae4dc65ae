"""Probabilities that mean what they say, and the answer "unknown"."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from midas.deploy.calibration import (
    Reject,
    answered,
    calibrate,
    calibration_error,
    certainty,
    choose_threshold,
    fit_temperature,
)
from midas.io.errors import ExportError


def drawn(count: int, temperature: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [count, 10], and labels drawn from their softmax at a temperature."""
    draws = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(count, 10, generator=draws)
    labels = torch.multinomial((logits / temperature).softmax(1), 1, generator=draws)[:, 0]
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_with_is_fitted(temperature: float) -> None:
    logits, labels = drawn(20_000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_calibration_lowers_the_error_and_changes_no_class() -> None:
    logits, labels = drawn(5_000, 3.0)
    result = calibrate(logits, labels, None)
    assert result["ece"] < 0.02 < result["ece_before"]
    assert "threshold" not in result


def test_a_network_without_mistakes_keeps_a_finite_temperature() -> None:
    labels = torch.arange(40) % 4
    logits = 3.0 * torch.nn.functional.one_hot(labels, 4)
    probability = (logits / fit_temperature(logits, labels)).softmax(1).max()
    assert probability == pytest.approx(1 - 1 / 42, abs=1e-3)


def test_the_calibration_error_is_that_of_a_plain_count() -> None:
    logits, labels = drawn(997, 2.0)
    probabilities = logits.softmax(1).double().numpy()
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels.numpy()
    expected = 0.0
    for k in range(15):
        inside = (confidence >= k / 15) & (confidence < (k + 1) / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    actual = calibration_error(torch.from_numpy(probabilities), labels)
    assert actual == pytest.approx(expected, abs=1e-9)


def test_below_the_threshold_the_bound_of_the_error_would_be_too_large() -> None:
    logits, labels = drawn(4_000, 1.0)
    probabilities = logits.softmax(1)
    reject = Reject(error=0.05)
    threshold = choose_threshold(probabilities, labels, reject)
    inside = certainty(probabilities) >= threshold
    wrong = int((probabilities.argmax(1) != labels)[inside].sum())
    # the upper Clopper-Pearson bound: with an error of 5 %, so few mistakes come in 5 % of cases
    assert binom.cdf(wrong, int(inside.sum()), 0.05) <= 0.05
    result = answered(probabilities, labels, threshold)
    assert result["coverage"] == pytest.approx(float(inside.double().mean()))
    assert result["answered_error"] == pytest.approx(wrong / int(inside.sum()))


def test_the_error_holds_on_new_images_as_often_as_it_says() -> None:
    held = 0
    for seed in range(40):
        logits, labels = drawn(1_000, 1.0, seed)
        threshold = choose_threshold(logits.softmax(1), labels, Reject(error=0.1))
        new_logits, new_labels = drawn(20_000, 1.0, 1_000 + seed)
        error = answered(new_logits.softmax(1), new_labels, threshold)["answered_error"]
        held += error is not None and error <= 0.1
    assert held >= binom.ppf(0.01, 40, 0.95)


def test_too_few_images_to_show_an_error_are_refused_in_one_short_line() -> None:
    logits, labels = drawn(100, 0.1)
    with pytest.raises(ExportError, match="100 validation images show no threshold") as caught:
        choose_threshold(logits.softmax(1), labels, Reject(error=0.01))
    assert len(str(caught.value)) <= 300


def test_certainty_is_the_distance_of_the_two_largest_probabilities() -> None:
    rows = torch.tensor([[0.5, 0.1, 0.4], [0.25, 0.25, 0.5], [0.0, 1.0, 0.0]])
    torch.testing.assert_close(certainty(rows), torch.tensor([0.2, 0.5, 1.0]).double())


def test_nothing_answered_has_no_error() -> None:
    probabilities = torch.from_numpy(np.full((3, 2), 0.5))
    result = answered(probabilities, torch.zeros(3, dtype=torch.int64), 0.9)
    assert result == {"coverage": 0.0, "answered_error": None}
