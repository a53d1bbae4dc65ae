"""The test: a network and its ONNX files on the same images; the plain file must give the same classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from midas.data.augment import normalise
from midas.data.batches import sequential_batches
from midas.data.prepared import DataMeta, Split
from midas.deploy.errors import DifferentClasses, DifferentValues
from midas.deploy.interface import Interface
from midas.deploy.parity import check_structure, class_agreement, largest_difference
from midas.deploy.runtimes import run_onnx, run_torch
from midas.runs.errors import DataError

CHUNK, BATCH = 2048, 64  # images normalised at a time, and images in a forward pass
TOP = 5  # classes that ImageNet's second measure looks at


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        metrics: accuracies (also of each class and of each variant, and where there are more than five classes how often
            the right one is among the first five), agreement and difference, JSON values.
        predictions: for each image a row with the names of its ``actual`` and its ``predicted`` class, and the
            ``confidence``: the probability that the ONNX file gives to the predicted class.
    """

    metrics: dict[str, Any]
    predictions: list[dict[str, object]]


def evaluate(
    model: nn.Module,
    path: Path,
    split: Split,
    meta: DataMeta,
    tolerance: float,
    interface: Interface | None = None,
    variants: Mapping[str, Path] | None = None,
) -> Evaluation:
    """Classify every image of a split by the network and by its ONNX files.

    Args:
        model: the network, in evaluation mode.
        path: the ONNX file that was made from it.
        split: the images; none is left out.
        meta: class names and statistics.
        tolerance: the largest difference allowed, as a part of the range of the network's logits (or probabilities,
            where the file gives these).
        interface: what the files take and give; normalised floats and logits by default.
        variants: shipped files of lower precision by name, of which only agreement and accuracy are told.

    Raises:
        DataError: the split is empty.
        ExportError: a file is missing, not in one valid piece or not of the interface; an image gets another class from
            the plain file, or a logit differs by more than the tolerance.
    """
    if len(split) == 0:
        raise DataError("the split to evaluate on is empty; run the data stage again")
    interface = interface or Interface(meta.mean, meta.std)
    paths = {"": path, **(variants or {})}
    for file in paths.values():
        check_structure(file, interface, tuple(split.images.shape[1:]))
    expected, by_file = _outputs(model, paths, split, meta, interface)
    got = by_file.pop("")
    agreement, difference = class_agreement(expected, got), largest_difference(expected, got)
    span = float(expected.max() - expected.min())
    _check(path, len(split), agreement, difference, tolerance * span)
    predicted = got.argmax(1)
    metrics = {
        "images": len(split),
        "accuracy_torch": class_accuracy(expected.argmax(1), split.labels),
        "accuracy_onnx": class_accuracy(predicted, split.labels),
        "class_agreement": agreement,
        "relative_difference": difference / span if span else 0.0,
        "accuracy_by_class": _by_class(predicted, split.labels, meta.classes),
    }
    if len(meta.classes) > TOP:
        metrics["top5_torch"] = top_accuracy(expected, split.labels)
        metrics["top5_onnx"] = top_accuracy(got, split.labels)
    if by_file:
        metrics["variants"] = {
            name: {
                "accuracy": class_accuracy(output.argmax(1), split.labels),
                "class_agreement": class_agreement(expected, output),
            }
            for name, output in by_file.items()
        }
    probabilities = got if interface.output == "probabilities" else got.softmax(1)
    found = zip(split.labels.tolist(), predicted.tolist(), probabilities.amax(1).tolist(), strict=True)
    rows: list[dict[str, object]] = [
        {"actual": meta.classes[a], "predicted": meta.classes[p], "confidence": round(c, 6)} for a, p, c in found
    ]
    return Evaluation(metrics, rows)


def worst_mistakes(predictions: Sequence[Mapping[str, Any]], count: int) -> list[int]:
    """The places of the mistakes that were made with the greatest confidence, at most `count`, the worst first."""
    wrong = [k for k, row in enumerate(predictions) if row["actual"] != row["predicted"]]
    return sorted(wrong, key=lambda k: -float(predictions[k]["confidence"]))[:count]


def class_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """The part of predicted classes [N] that are the labels [N]."""
    return float((predicted == labels).double().mean())


def top_accuracy(outputs: Tensor, labels: Tensor, count: int = TOP) -> float:
    """The part of outputs [N, classes] that have the label among their `count` largest."""
    return float((outputs.topk(count, dim=1).indices == labels[:, None]).any(1).double().mean())


def _outputs(
    model: nn.Module, paths: Mapping[str, Path], split: Split, meta: DataMeta, interface: Interface
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the network should make each file give, and what each gives, [N, classes], a chunk of images at a time."""
    expected: list[Tensor] = []
    got: dict[str, list[Tensor]] = {name: [] for name in paths}
    for index in sequential_batches(len(split), CHUNK):
        pixels = split.images[index]
        expected.append(interface.expect(run_torch(model, normalise(pixels, meta.mean, meta.std), BATCH)))
        for name, path in paths.items():
            got[name].append(run_onnx(path, interface.feed(pixels), BATCH))
    return torch.cat(expected), {name: torch.cat(parts) for name, parts in got.items()}


def _check(path: Path, images: int, agreement: float, difference: float, limit: float) -> None:
    """Raise the ExportError that says in what, and by how much, the file differs from the network."""
    if agreement < 1:
        raise DifferentClasses(
            f"{path}: {round((1 - agreement) * images)} of {images} test images get another class than from the "
            f"network; largest logit difference {difference:.3g}",
            difference,
        )
    if not difference <= limit:
        raise DifferentValues(
            f"{path}: on the test images a logit differs by {difference:.3g}, {limit:.3g} is allowed "
            "(export.tolerance)",
            difference,
        )


def _by_class(predicted: Tensor, labels: Tensor, classes: tuple[str, ...]) -> dict[str, float]:
    """The accuracy on the images of each class that has any."""
    present = [(label, name) for label, name in enumerate(classes) if bool((labels == label).any())]
    return {name: class_accuracy(predicted[labels == label], labels[labels == label]) for label, name in present}
