"""Classes of unequal size: weights in the loss, balanced batches, and what chooses the epoch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_recipe_options import config
from test_train_loop import GENOTYPE, META, TRAIN, VAL, run
from torch import nn

from midas.data.batches import epoch_batches
from midas.data.prepared import Split
from midas.engine.distributed import Distributed
from midas.train import training
from midas.train.mixing import class_weights
from midas.train.start import initial_network
from midas.train.validate import Validation, evaluate


@given(st.lists(st.integers(1, 5000), min_size=2, max_size=8), st.booleans())
def test_weights_have_a_mean_of_one_over_the_images_and_favour_small_classes(
    numbers: list[int], effective: bool
) -> None:
    counts = torch.tensor(numbers)
    weights = class_weights("effective" if effective else "balanced", counts)
    assert weights is not None
    assert (weights * counts).sum().item() == pytest.approx(counts.sum().item(), rel=1e-4)
    order = counts.argsort()
    assert (weights[order].diff() <= 1e-6).all()


def test_balanced_weights_divide_by_the_number_of_images() -> None:
    weights = class_weights("balanced", torch.tensor([30, 10]))
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 2.0]))
    assert class_weights("none", torch.tensor([30, 10])) is None


def test_effective_numbers_are_those_of_the_formula() -> None:
    counts = torch.tensor([90.0, 10.0], dtype=torch.float64)
    base = 0.99
    numbers = (1 - base**counts) / (1 - base)
    weights = class_weights("effective", counts)
    assert weights is not None
    expected = (numbers[0] / numbers[1]).item()
    assert (weights[1] / weights[0]).item() == pytest.approx(expected, rel=1e-5)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=5), st.integers(0, 9))
def test_balanced_batches_hold_every_class_equally_often(numbers: list[int], epoch: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(numbers)), torch.tensor(numbers))
    batches = epoch_batches(len(labels), 1, 0, epoch, labels=labels)
    drawn = labels[torch.cat(batches)].bincount(minlength=len(numbers))
    assert drawn.sum() == len(labels)
    assert drawn.max() - drawn.min() <= len(numbers)
    again = epoch_batches(len(labels), 1, 0, epoch, labels=labels)
    assert torch.equal(torch.cat(batches), torch.cat(again))


def test_the_weighted_loss_is_the_plain_definition() -> None:
    images = Split(TRAIN.images[:12], torch.tensor([0] * 9 + [1] * 3))
    options = config(class_weights="balanced", auxiliary_weight=0, batch_size=12, label_smoothing=0)
    network = initial_network(GENOTYPE, options, 2, META.size)
    job = training.Training(network, options, images, VAL, META, "t", Distributed(), seed=0)
    job.begin_epoch(0, 0)
    _, pixels, labels = next(iter(job._parts(0, 0)))
    sums = job._pass([network], pixels, labels, labels)
    network.zero_grad()
    logs = network(pixels).log_softmax(1)
    each = torch.tensor([12 / 18, 12 / 6])[labels] * -logs[torch.arange(12), labels]
    assert sums[0].item() / 12 == pytest.approx(each.mean().item(), rel=1e-5)


def test_balanced_accuracy_is_the_mean_over_the_classes_that_are_there() -> None:
    class Dark(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0]]).expand(len(x), 2)

    images = Split(TRAIN.images[:8], torch.tensor([0] * 6 + [1] * 2))
    result = evaluate(Dark(), images, META)
    assert (result.accuracy, result.balanced_accuracy) == (0.75, 0.5)
    only = Split(TRAIN.images[:3], torch.zeros(3, dtype=torch.int64))
    assert evaluate(Dark(), only, META).balanced_accuracy == 1


@pytest.mark.parametrize(
    ("measure", "best"), [("accuracy", 1), ("balanced_accuracy", 2), ("loss", 3)]
)
def test_the_named_measure_chooses_the_epoch(
    monkeypatch: pytest.MonkeyPatch, measure: str, best: int
) -> None:
    seen = iter([Validation(2.0, 0.9, 0.3), Validation(1.5, 0.8, 0.8), Validation(1.0, 0.7, 0.6)])
    monkeypatch.setattr(training, "evaluate", lambda *_: next(seen))
    result = run(epochs=3, select_by=measure)
    assert result.metrics["best_epoch"] == best


def test_a_rare_class_is_learned_with_balanced_batches_or_weights() -> None:
    kept = torch.tensor([*range(0, 62, 2), 1, 3])  # 31 dark images and two light ones
    rare = Split(TRAIN.images[kept], TRAIN.labels[kept])
    recipe = {"epochs": 8, "auxiliary_weight": 0, "drop_path": 0, "select_by": "balanced_accuracy"}
    for way in ({"balanced_batches": True}, {"class_weights": "balanced"}):
        result = run(train_split=rare, **recipe, **way)
        assert result.metrics["best_val_balanced_accuracy"] >= 0.8
