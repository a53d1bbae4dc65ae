"""The test of a network and its ONNX file on every image of a split."""

from pathlib import Path

import onnx
import pytest
import torch
from model_folders import CLASSES, META, point_outside, split_of

from midas.data.prepared import Split
from midas.deploy.errors import DifferentClasses, DifferentValues, InvalidFile, WrongAxes, WrongNames
from midas.deploy.evaluation import class_accuracy, evaluate, top_accuracy, worst_mistakes
from midas.deploy.folder import open_model_folder
from midas.deploy.interface import Interface
from midas.runs.errors import DataError


def test_accuracies_and_predictions_agree_with_each_other(shipped: Path) -> None:
    split = split_of(40, seed=2)
    found = evaluate(open_model_folder(shipped)[0], shipped / "model.onnx", split, META, 1e-4)
    right = [row["actual"] == row["predicted"] for row in found.predictions]
    assert [row["actual"] for row in found.predictions] == [CLASSES[label] for label in split.labels.tolist()]
    assert found.metrics["accuracy_torch"] == found.metrics["accuracy_onnx"] == pytest.approx(sum(right) / 40)
    assert (found.metrics["images"], found.metrics["class_agreement"]) == (40, 1)
    counts = {name: [row["actual"] for row in found.predictions].count(name) for name in CLASSES}
    by_class = found.metrics["accuracy_by_class"]
    assert sum(by_class[name] * counts[name] for name in CLASSES) == pytest.approx(sum(right))


def test_the_first_five_are_counted_as_by_sorting() -> None:
    torch.manual_seed(0)
    outputs, labels = torch.randn(200, 9), torch.randint(0, 9, (200,))
    rows = zip(outputs.tolist(), labels.tolist(), strict=True)
    hits = [label in sorted(range(9), key=lambda k: -row[k])[:5] for row, label in rows]
    assert top_accuracy(outputs, labels) == pytest.approx(sum(hits) / 200)
    assert top_accuracy(outputs, labels, 1) == class_accuracy(outputs.argmax(1), labels)


@pytest.mark.parametrize(
    ("interface", "error", "said"),
    [
        (Interface(META.mean, META.std, input="uint8-nhwc"), WrongAxes, "takes images"),
        (Interface(META.mean, META.std, output="probabilities"), WrongNames, "probabilities"),
    ],
)
def test_a_file_that_was_exported_otherwise_is_refused_before_any_image(
    shipped: Path, interface: Interface, error: type[Exception], said: str
) -> None:
    model, path = open_model_folder(shipped)[0], shipped / "model.onnx"
    with pytest.raises(error, match=said):
        evaluate(model, path, split_of(8, seed=2), META, 1e-4, interface)


def test_a_file_with_its_weights_elsewhere_is_refused(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    path = tmp_path / "small" / "model.onnx"
    onnx.save(onnx.load(shipped / "model.onnx"), path)
    point_outside(path, "../weights.bin")
    with pytest.raises(InvalidFile, match=r"model\.onnx: is not valid ONNX \(.*another file"):
        evaluate(open_model_folder(shipped)[0], path, split_of(8, seed=2), META, 1e-4)


def test_a_class_without_images_has_no_accuracy(shipped: Path) -> None:
    split = split_of(8, seed=2)
    split = Split(split.images, torch.ones_like(split.labels))
    found = evaluate(open_model_folder(shipped)[0], shipped / "model.onnx", split, META, 1e-4)
    assert set(found.metrics["accuracy_by_class"]) == {CLASSES[1]}


@pytest.mark.parametrize(
    ("shift", "error", "said"),
    [
        ([0.5, 0.5, 0.5], DifferentValues, r"export\.tolerance"),  # no decision changes, every logit does
        ([1e3, 0.0, -1e3], DifferentClasses, "of 8 test images get another class"),
    ],
)
def test_a_network_that_is_not_the_files_fails(
    shipped: Path, shift: list[float], error: type[Exception], said: str
) -> None:
    model, split = open_model_folder(shipped)[0], split_of(8, seed=2)
    path = shipped / "model.onnx"
    assert {row["predicted"] for row in evaluate(model, path, split, META, 1e-4).predictions} != {CLASSES[0]}
    with torch.no_grad():
        model.get_parameter("classifier.bias").add_(torch.tensor(shift))
    with pytest.raises(error, match=said):
        evaluate(model, path, split, META, 1e-4)


def test_an_empty_split_is_refused(shipped: Path) -> None:
    with pytest.raises(DataError, match="empty"):
        evaluate(open_model_folder(shipped)[0], shipped / "model.onnx", split_of(0, seed=2), META, 1e-4)


def test_the_worst_mistakes_are_the_surest_ones_and_no_right_answer_is_among_them() -> None:
    rows = [
        {"actual": a, "predicted": p, "confidence": c}
        for a, p, c in (("x", "x", 0.99), ("x", "y", 0.6), ("y", "x", 0.9), ("y", "z", 0.7), ("z", "x", 0.9))
    ]
    assert worst_mistakes(rows, 3) == [2, 4, 3]
    assert worst_mistakes(rows[:1], 3) == []
