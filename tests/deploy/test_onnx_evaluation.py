"""The test of a network and its ONNX file on every image of a split."""

from pathlib import Path

import onnx
import pytest
import torch
from model_folders import CLASSES, META, point_outside, split_of
from scipy.stats import binomtest

from midas.data.prepared import Split
from midas.deploy.calibration import share_interval
from midas.deploy.interface import Interface
from midas.deploy.onnx_evaluation import (
    class_accuracy,
    class_scores,
    evaluate,
    top_accuracy,
    worst_mistakes,
)
from midas.deploy.runtimes import ParityError
from midas.io.errors import DataError
from midas.zoo.model_folder import open_model_folder


def test_accuracies_and_predictions_agree_with_each_other(shipped: Path) -> None:
    split = split_of(40, seed=2)
    evaluation = evaluate(open_model_folder(shipped)[0], shipped / "model.onnx", split, META, 1e-4)
    right = [row["actual"] == row["predicted"] for row in evaluation.predictions]
    actual = [row["actual"] for row in evaluation.predictions]
    assert actual == [CLASSES[label] for label in split.labels.tolist()]
    metrics = evaluation.metrics
    assert metrics["accuracy_torch"] == metrics["accuracy_onnx"] == pytest.approx(sum(right) / 40)
    assert metrics["images"] == 40
    assert metrics["class_agreement"] == 1
    counts = {name: actual.count(name) for name in CLASSES}
    by_class = {name: scores["recall"] for name, scores in metrics["classes"].items()}
    assert sum(by_class[name] * counts[name] for name in CLASSES) == pytest.approx(sum(right))
    assert metrics["balanced_accuracy"] == pytest.approx(sum(by_class.values()) / len(CLASSES))


def test_recall_and_precision_of_a_class_are_those_of_counting() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    predicted = torch.tensor([0, 0, 0, 1, 1, 0])
    scores = class_scores(predicted, labels, ("cat", "dog", "emu"))
    assert list(scores) == ["cat", "dog"], "there is no image of an emu"
    assert (scores["cat"]["recall"], scores["cat"]["precision"]) == (0.75, 0.75)
    assert (scores["dog"]["recall"], scores["dog"]["precision"]) == (0.5, 0.5)
    never = class_scores(torch.zeros(6, dtype=torch.int64), labels, ("cat", "dog"))
    assert never["dog"]["precision"] is None
    assert never["dog"]["precision_interval"] == (0.0, 1.0)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (10, 10), (7, 200)])
def test_intervals_are_those_of_clopper_and_pearson(hits: int, count: int) -> None:
    expected = binomtest(hits, count).proportion_ci(0.95, method="exact")
    assert share_interval(hits, count) == pytest.approx(tuple(expected))


def test_top5_accuracy_equals_that_of_sorting() -> None:
    torch.manual_seed(0)
    outputs = torch.randn(200, 9)
    labels = torch.randint(0, 9, (200,))
    rows = zip(outputs.tolist(), labels.tolist(), strict=True)
    hits = [label in sorted(range(9), key=lambda k: -row[k])[:5] for row, label in rows]
    assert top_accuracy(outputs, labels) == pytest.approx(sum(hits) / 200)
    assert top_accuracy(outputs, labels, 1) == class_accuracy(outputs.argmax(1), labels)


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        (Interface(META.mean, META.std, input="uint8-nhwc"), "takes images"),
        (Interface(META.mean, META.std, output="probabilities"), "probabilities"),
    ],
)
def test_a_file_with_another_interface_is_refused_before_any_image(
    shipped: Path, interface: Interface, message: str
) -> None:
    model = open_model_folder(shipped)[0]
    path = shipped / "model.onnx"
    with pytest.raises(ParityError, match=message):
        evaluate(model, path, split_of(8, seed=2), META, 1e-4, interface)


def test_a_file_with_external_weights_is_refused(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    path = tmp_path / "small" / "model.onnx"
    onnx.save(onnx.load(shipped / "model.onnx"), path)
    point_outside(path, "../weights.bin")
    with pytest.raises(ParityError, match=r"model\.onnx: is not valid ONNX \(.*another file"):
        evaluate(open_model_folder(shipped)[0], path, split_of(8, seed=2), META, 1e-4)


def test_a_class_without_images_has_no_accuracy(shipped: Path) -> None:
    split = split_of(8, seed=2)
    split = Split(split.images, torch.ones_like(split.labels))
    evaluation = evaluate(open_model_folder(shipped)[0], shipped / "model.onnx", split, META, 1e-4)
    assert set(evaluation.metrics["classes"]) == {CLASSES[1]}


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        # every logit changes, but no decision
        ([0.5, 0.5, 0.5], r"export\.tolerance"),
        ([1e3, 0.0, -1e3], "of 8 test images get another class"),
    ],
)
def test_a_network_that_differs_from_the_file_fails(
    shipped: Path, shift: list[float], message: str
) -> None:
    model = open_model_folder(shipped)[0]
    split = split_of(8, seed=2)
    path = shipped / "model.onnx"
    predictions = evaluate(model, path, split, META, 1e-4).predictions
    assert {row["predicted"] for row in predictions} != {CLASSES[0]}
    with torch.no_grad():
        model.get_parameter("classifier.bias").add_(torch.tensor(shift))
    with pytest.raises(ParityError, match=message):
        evaluate(model, path, split, META, 1e-4)


def test_an_empty_split_is_refused(shipped: Path) -> None:
    model = open_model_folder(shipped)[0]
    with pytest.raises(DataError, match="empty"):
        evaluate(model, shipped / "model.onnx", split_of(0, seed=2), META, 1e-4)


def test_the_worst_mistakes_are_the_most_confident_wrong_predictions() -> None:
    values = [("x", "x", 0.99), ("x", "y", 0.6), ("y", "x", 0.9), ("y", "z", 0.7), ("z", "x", 0.9)]
    rows = [{"actual": a, "predicted": p, "confidence": c} for a, p, c in values]
    assert worst_mistakes(rows, 3) == [2, 4, 3]
    assert worst_mistakes(rows[:1], 3) == []
