"""How well a CIFAR-10 model knows what it does not know.

python benchmarks/unknown.py --model models/cifar10 --root CIFAR --cifar100 DIR reads
cifar-10-batches-py in CIFAR and cifar100_test.npz in DIR. Temperature and threshold are those of
model.onnx, which come from validation images; all figures are of CIFAR-10's test images. `predict`
answers "unknown" by the first signal, of logits that shrink where features are unfamiliar.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor

from midas.data.augment import normalise
from midas.data.config import DataConfig
from midas.data.pictures import to_rgb
from midas.data.prepare import open_source, original_images
from midas.deploy.calibration import answered, calibration_error, certainty
from midas.deploy.export import read_calibration, read_metadata
from midas.deploy.familiarity import read_familiarity
from midas.deploy.runtimes import run_torch
from midas.zoo.model_folder import open_model_folder


def foreign_images(folder: Path | None) -> dict[str, Tensor]:
    """Images uint8 [N, 3, 32, 32] of nothing that CIFAR-10 has."""
    draws = torch.Generator().manual_seed(0)
    digits = torch.from_numpy(load_digits().images * 15.9375).byte()[:, None].expand(-1, 3, -1, -1)
    images = {
        "digits": torch.nn.functional.interpolate(digits, size=32),
        "noise": torch.randint(0, 256, (2000, 3, 32, 32), dtype=torch.uint8, generator=draws),
    }
    if folder is not None:
        with np.load(folder / "cifar100_test.npz", allow_pickle=False) as arrays:
            images["CIFAR-100"] = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2)
    return images


def main() -> None:
    """Print calibration, coverage, and a row for each kind of foreign images and signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--cifar100", type=Path)
    options = parser.parse_args()
    network, config = open_model_folder(options.model)
    mean, std = config["pretrained_cfg"]["mean"], config["pretrained_cfg"]["std"]
    metadata = read_metadata(options.model / "model.onnx")
    shipped = read_familiarity(network, metadata)
    answers = read_calibration(metadata)
    temperature = answers["temperature"]
    data = DataConfig(source="cifar10", root=str(options.root))
    pixels = np.stack([np.asarray(to_rgb(image)) for image in original_images(data, "test", [])])
    images = normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2), mean, std)
    known = run_torch(shipped, images, 64)
    source = open_source(data)
    labels = source.labels[source.splits["test"]]
    probabilities = (known / temperature).softmax(1)
    print(f"ECE {calibration_error(known.softmax(1), labels):.4f} without a temperature,", end=" ")
    print(f"{calibration_error(probabilities, labels):.4f} with {temperature}")
    if "threshold" in answers:
        print(answered(probabilities, labels, answers["threshold"]))
    signals: dict[str, Callable[[Tensor], Tensor]] = {
        "1 - p2 / p1": lambda logits: certainty((logits / temperature).softmax(1)),
        "confidence": lambda logits: (logits / temperature).softmax(1).max(1).values,
        "largest logit": lambda logits: logits.max(1).values,
        "energy": lambda logits: logits.logsumexp(1),
    }
    for name, images in foreign_images(options.cifar100).items():
        foreign = run_torch(shipped, normalise(images, mean, std), 64)
        for signal, value in signals.items():
            inside, outside = value(known), value(foreign)
            truth = np.repeat([1, 0], [len(inside), len(outside)])
            area = roc_auc_score(truth, torch.cat([inside, outside]))
            rejected = float((outside < inside.quantile(0.05)).double().mean())
            print(f"{name:10} {signal:14} AUROC {area:.4f}, rejected at 95 %: {rejected:.1%}")


if __name__ == "__main__":
    main()
