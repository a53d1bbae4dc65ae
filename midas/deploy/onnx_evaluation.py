"""The test: a network and its ONNX files on the same images, where model.onnx must agree."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from midas.data.augment import normalise
from midas.data.pictures import fit, to_rgb
from midas.data.prepared import DataMeta, Split
from midas.deploy import parity
from midas.deploy.calibration import answered, calibration_error, share_interval
from midas.deploy.export import INPUT
from midas.deploy.interface import Interface
from midas.deploy.runtimes import THREADS, ParityError, open_session, run_onnx, run_torch
from midas.io import files
from midas.io.errors import DataError

CHUNK = 2048  # images in memory as floats at a time
AGREEMENT = 0.999  # of the classes of original images, scaled by the graph and by Pillow
TOP = 5  # classes that ImageNet's second measure looks at


@dataclass(frozen=True)
class Evaluation:
    """The result of a test."""

    metrics: dict[str, Any]  # JSON values: accuracies, and how far network and files agree
    expected: Tensor  # what the files should return [N, classes]
    predictions: list[dict[str, object]]  # for each image: actual, predicted, confidence (0 to 1)


def evaluate(
    model: nn.Module,
    path: Path,
    split: Split,
    meta: DataMeta,
    tolerance: float,
    interface: Interface | None = None,
    variants: Mapping[str, Path] | None = None,
    threshold: float | None = None,
) -> Evaluation:
    """Classify every image of a split by the network and by its ONNX files.

    Args:
        tolerance: the largest difference of an output, as a fraction of the range of the network's.
        interface: what the files take and return; by default normalised floats and logits.
        variants: smaller files by name, which need not agree.
        threshold: the certainty below which the answer is "unknown".

    Raises:
        DataError: the split is empty.
        ParityError: a file is not valid, or `path` gives another class or differs too much.
    """
    if len(split) == 0:
        raise DataError("the split to evaluate on is empty; run the data stage again")
    interface = interface or Interface(meta.mean, meta.std)
    parity.check_structure(path, interface, tuple(split.images.shape[1:]))
    images = (normalise(c, meta.mean, meta.std) for c in split.images.split(CHUNK))
    logits = torch.cat([run_torch(model, chunk, parity.BATCH) for chunk in images])
    expected = interface.expected_output(logits)
    actual = _run_file(path, split.images, interface)
    compared = parity.compare(path, expected, actual, tolerance, "test images")
    labels = split.labels
    predicted = actual.argmax(1)
    scores = class_scores(predicted, labels, meta.classes)
    metrics: dict[str, Any] = {
        "images": len(split),
        "accuracy_torch": class_accuracy(expected.argmax(1), labels),
        "accuracy_onnx": class_accuracy(predicted, labels),
        "class_agreement": compared["class_agreement"],
        "relative_difference": compared["relative_difference"],
        "balanced_accuracy": mean(of_class["recall"] for of_class in scores.values()),
        "classes": scores,
    }
    if len(meta.classes) > TOP:
        metrics["top5_torch"] = top_accuracy(expected, labels)
        metrics["top5_onnx"] = top_accuracy(actual, labels)
    probabilities = interface.probabilities(logits)
    metrics["ece_before"] = calibration_error(logits.softmax(1), labels)
    metrics["ece"] = calibration_error(probabilities, labels)
    if threshold is not None:
        metrics |= answered(probabilities, labels, threshold)
    if variants:
        metrics["variants"] = {
            name: measure_loss(file, expected, split, interface) for name, file in variants.items()
        }
    if interface.output != "probabilities":
        actual = interface.probabilities(actual)
    confidence, best = actual.max(1)
    rows = zip(labels.tolist(), best.tolist(), confidence.tolist(), strict=True)
    predictions: list[dict[str, object]] = [
        {"actual": meta.classes[a], "predicted": meta.classes[p], "confidence": round(c, 6)}
        for a, p, c in rows
    ]
    return Evaluation(metrics, expected, predictions)


def class_scores(
    predicted: Tensor, labels: Tensor, classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Recall and precision of each class that `labels` has, with 95 % intervals.

    The precision of a class that was never predicted is None.
    """
    scores: dict[str, dict[str, Any]] = {}
    for label, name in enumerate(classes):
        hits = int(((predicted == label) & (labels == label)).sum())
        images = int((labels == label).sum())
        answers = int((predicted == label).sum())
        if images:
            scores[name] = {
                "images": images,
                "recall": hits / images,
                "recall_interval": share_interval(hits, images),
                "precision": hits / answers if answers else None,
                "precision_interval": share_interval(hits, answers),
            }
    return scores


def measure_loss(
    path: Path, expected: Tensor, split: Split, interface: Interface
) -> dict[str, Any]:
    """What a variant loses on a split against the network's output [N, classes]."""
    parity.check_structure(path, interface, tuple(split.images.shape[1:]))
    actual = _run_file(path, split.images, interface)
    accuracy = class_accuracy(actual.argmax(1), split.labels)
    return {
        "accuracy": accuracy,
        "accuracy_loss": class_accuracy(expected.argmax(1), split.labels) - accuracy,
        "class_agreement": parity.class_agreement(expected, actual),
        "finite": bool(actual.isfinite().all()),  # float16 may overflow
        "bytes": path.stat().st_size,
        "sha256": files.sha256(path),
    }


def compare_originals(
    path: Path, originals: Iterable[Image.Image], split: Split, expected: Tensor
) -> dict[str, Any]:
    """How a file for photographs does on the original images of a split, for details.json.

    `expected` is the network's output [N, classes] on the prepared pixels, which are Pillow's.

    Raises:
        DataError: an original is not the image of the prepared pixels.
        ParityError: fewer than `AGREEMENT` of the images get the same class.
    """
    session = open_session(path, THREADS)
    outputs: list[np.ndarray] = []
    for original, pixels in zip(originals, split.images, strict=True):
        image = to_rgb(original)
        if not np.array_equal(np.asarray(fit(image, pixels.shape[-1])), pixels.permute(1, 2, 0)):
            raise DataError(f"test image {len(outputs)} has changed; run `dvc repro data` first")
        outputs.append(session.run(None, {INPUT: np.asarray(image)[None]})[0])
    actual = torch.from_numpy(np.concatenate(outputs))
    agreement = parity.class_agreement(expected, actual)
    difference = parity.largest_difference(expected, actual)
    if agreement < AGREEMENT:
        raise ParityError(
            f"{path}: of {len(split)} original images {agreement:.2%} get the class that they get "
            f"after Pillow; at least {AGREEMENT:.1%} must",
            difference,
        )
    return {
        "class_agreement": agreement,
        "max_abs_difference": difference,
        "accuracy": class_accuracy(actual.argmax(1), split.labels),
    }


def worst_mistakes(predictions: Sequence[Mapping[str, Any]], count: int) -> list[int]:
    """The indices of at most `count` wrong predictions, the most confident first."""
    wrong = [k for k, row in enumerate(predictions) if row["actual"] != row["predicted"]]
    return sorted(wrong, key=lambda k: -float(predictions[k]["confidence"]))[:count]


def class_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """The fraction of predicted classes [N] that equal the labels [N]."""
    return float((predicted == labels).double().mean())


def top_accuracy(outputs: Tensor, labels: Tensor, count: int = TOP) -> float:
    """The fraction of outputs [N, classes] with the label among their `count` largest values."""
    return float((outputs.topk(count, dim=1).indices == labels[:, None]).any(1).double().mean())


def _run_file(path: Path, pixels: Tensor, interface: Interface) -> Tensor:
    """The output [N, classes] of an ONNX file for pixels uint8 [N, 3, H, W]."""
    inputs = (interface.encode(chunk) for chunk in pixels.split(CHUNK))
    return torch.cat([run_onnx(path, chunk, parity.BATCH) for chunk in inputs])
