"""A network learns from a teacher: the loss is the published one, and the teacher never changes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from test_train_loop import GENOTYPE, META, RECIPE, TRAIN, VAL, PowerCut, Unplugged, equal
from torch import Tensor
from torch.nn import functional as F

from midas.data.augment import normalise
from midas.engine.checkpoint import Checkpoint
from midas.io.errors import MidasError
from midas.nets import timm_models
from midas.train.config import TaughtTargetConfig
from midas.train.distillation import Teacher, distillation_loss, load_teacher
from midas.train.run import TrainResult, train
from midas.train.start import initial_network
from midas.zoo.model_folder import save_model_folder, with_trained

OWN = replace(META, size=32, mean=(0.4, 0.3, 0.2), std=(0.2, 0.3, 0.4))
LOGITS = arrays(np.float64, (3, 4), elements=st.floats(-20, 20))


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@settings(max_examples=50, deadline=None)
@given(LOGITS, LOGITS, st.sampled_from([1.0, 2.5, 8.0]))
def test_loss_and_gradient_are_those_of_the_plain_definition(
    learner: np.ndarray, teacher: np.ndarray, temperature: float
) -> None:
    logits = torch.tensor(learner, requires_grad=True)
    loss = distillation_loss(logits, torch.tensor(teacher), temperature)
    loss.backward()
    q, p = softmax(learner / temperature), softmax(teacher / temperature)
    terms = p * (np.log(p) - np.log(q))
    assert loss.item() == pytest.approx(temperature**2 * terms.sum(1).mean(), abs=1e-8)
    np.testing.assert_allclose(logits.grad, temperature * (q - p) / 3, atol=1e-10)


def test_at_a_high_temperature_logits_are_compared() -> None:
    """Section 2.1 of the paper: the gradient becomes the difference of logits of mean zero."""
    learner, teacher = torch.randn(2, 5, 7, dtype=torch.float64)
    logits = learner.requires_grad_()
    distillation_loss(logits, teacher, 1e5).backward()
    centred = [x - x.mean(1, keepdim=True) for x in (learner.detach(), teacher)]
    torch.testing.assert_close(logits.grad, (centred[0] - centred[1]) / 7 / 5, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a small timm model, whose batch norms have seen images."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("models") / "teacher"
    fresh = timm_models.create("test_resnet", 2, 32)
    fresh(torch.randn(8, 3, 32, 32))
    model = with_trained(timm_models.create("test_resnet", 2, 32), fresh.state_dict(), OWN)
    save_model_folder(folder, model, None, OWN, "a card\n", own_normalisation=True)
    return folder


def taught(
    folder: Path, checkpoint: Checkpoint | None = None, train_split: Any = TRAIN, **changes: Any
) -> TrainResult:
    options = TaughtTargetConfig(**{**RECIPE, "epochs": 2, "auxiliary_weight": 0, **changes})
    teacher = load_teacher(folder, META, options.temperature, options.teacher_weight)
    before = {name: t.clone() for name, t in teacher.network.state_dict().items()}
    network = initial_network(GENOTYPE, options, 2)
    result = train(network, options, train_split, VAL, META, checkpoint, teacher=teacher)
    assert not teacher.network.training
    assert all(weight.grad is None for weight in teacher.network.parameters())
    after = teacher.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    return result


def test_the_teacher_sees_the_same_images_in_its_own_size_and_normalisation(folder: Path) -> None:
    teacher = load_teacher(folder, META, 4.0, 0.9)
    pixels = VAL.images
    network, size = teacher.network, (32, 32)
    for source in (META, replace(META, mean=(0.1, 0.2, 0.3), std=(1.0, 0.5, 0.25))):
        teacher = load_teacher(folder, source, 4.0, 0.9)
        resized = F.interpolate(normalise(pixels, OWN.mean, OWN.std), size=size, mode="bilinear")
        expected = network(resized).detach()
        answers = teacher.logits(normalise(pixels, source.mean, source.std))
        torch.testing.assert_close(answers, expected, atol=1e-4, rtol=1e-4)
    assert not answers.requires_grad


def test_labels_and_teacher_share_the_loss_by_the_weight(folder: Path) -> None:
    flipped = replace(TRAIN, labels=1 - TRAIN.labels)
    alone = taught(folder, teacher_weight=1.0)
    other = taught(folder, train_split=flipped, teacher_weight=1.0)
    assert all(torch.equal(other.last[k], v) for k, v in alone.last.items()), "no label counts"
    options = TaughtTargetConfig(**{**RECIPE, "epochs": 2, "auxiliary_weight": 0})
    plain = train(initial_network(GENOTYPE, options, 2), options, TRAIN, VAL, META)
    assert equal(plain, taught(folder, teacher_weight=0.0))
    assert not equal(plain, taught(folder))


def test_the_learner_comes_to_answer_as_the_teacher_does() -> None:
    """A teacher that is surely wrong about every image is believed, against the labels."""

    class Wrong(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            brightness = images.mean((1, 2, 3))
            return torch.stack([brightness, -brightness], 1) * 20  # dark images are the second

    one, zero = torch.ones(3, 1, 1), torch.zeros(3, 1, 1)
    teacher = Teacher(Wrong().eval(), 8, one, zero, 2.0, 1.0)
    options = TaughtTargetConfig(**{**RECIPE, "epochs": 8, "auxiliary_weight": 0})
    network = initial_network(GENOTYPE, options, 2)
    result = train(network, options, TRAIN, VAL, META, teacher=teacher)
    assert result.metrics["last_val_accuracy"] <= 0.1


@pytest.mark.parametrize("changes", [{"mixup": 0.2}, {"replicas": 2, "drop_path": 0}])
def test_a_taught_training_goes_on_where_it_was_cut(
    tmp_path: Path, folder: Path, changes: dict[str, Any]
) -> None:
    whole = taught(folder, **changes)
    with pytest.raises(PowerCut):
        taught(folder, Unplugged(tmp_path, saves=1, before=False), **changes)
    assert equal(whole, taught(folder, Checkpoint(tmp_path, "print"), **changes))


def test_parts_of_a_batch_add_up(folder: Path) -> None:
    """Statistics of batch norm differ by part, so only the teacher's share of the loss is added."""
    logits, answers = torch.randn(2, 8, 3)
    parts = [
        distillation_loss(a, b, 3.0) for a, b in zip(logits.chunk(2), answers.chunk(2), strict=True)
    ]
    torch.testing.assert_close(sum(parts) / 2, distillation_loss(logits, answers, 3.0))


def test_a_teacher_of_other_classes_or_none_is_refused(tmp_path: Path, folder: Path) -> None:
    for classes in (("dark", "bright"), ("light", "dark"), ("dark", "light", "red")):
        with pytest.raises(MidasError, match="has other classes") as raised:
            load_teacher(folder, replace(META, classes=classes), 4.0, 0.9)
        assert "\n" not in str(raised.value)
    with pytest.raises(MidasError, match=r"is no model folder .* build it first"):
        load_teacher(tmp_path / "absent", META, 4.0, 0.9)
