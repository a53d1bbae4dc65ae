"""Trained models and their ONNX files on every image of their test splits, with and without the preprocessing inside.

    python benchmarks/onnx_agreement.py models/digits=artifacts/data [FOLDER=DATA...]

FOLDER is a model folder as the build stage leaves it, DATA the prepared data that it was trained on. The network sees
images as timm's own transform makes them from the pixels of the test split; the plain file sees the same images, the
other one the pixels. Prints a Markdown table; exit code 1 where a limit does not hold. The folders are only read.
"""

import sys
import tempfile
from pathlib import Path

import timm
import torch
from PIL import Image
from torch import Tensor

from midas.data.prepared import load_meta, load_split
from midas.deploy.export import export_onnx
from midas.deploy.folder import check_data, open_model_folder
from midas.deploy.interface import PLAIN, Interface
from midas.deploy.parity import class_agreement, largest_difference
from midas.deploy.runtimes import run_onnx, run_torch
from midas.runs.errors import MidasError

LIMIT = 1e-4  # largest logit difference over the range of the logits
HEAD = "| model | test images | file | torch / ONNX accuracy | same class on | difference / logit range | file / weights, bytes |"
BATCH = 64


def by_timm(pixels: Tensor, config: dict[str, object]) -> Tensor:
    """Pixels uint8 [N, 3, H, W], already scaled and cropped, by the transform that timm makes of a configuration."""
    transform = timm.data.create_transform(**timm.data.resolve_data_config(config), is_training=False)
    pictures = (Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in pixels)
    return torch.stack([transform(picture) for picture in pictures])


def compare(folder: Path, data: Path) -> bool:
    """Print the rows of one model; whether each holds."""
    model, config = open_model_folder(folder)
    split, meta = load_split(data / "test.safetensors"), load_meta(data / "meta.json")
    check_data(folder, config, meta)
    images = by_timm(split.images, config["pretrained_cfg"])
    pixels = Interface(meta.mean, meta.std, input="uint8-nhwc")
    expected = run_torch(model, images, BATCH)
    span, weights = float(expected.max() - expected.min()), (folder / "model.safetensors").stat().st_size
    holds = True
    for name, interface, fed in (("floats", PLAIN, images), ("pixels", pixels, pixels.feed(split.images))):
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary, "model.onnx")
            export_onnx(model, path, input_size=(3, meta.size, meta.size), metadata={}, interface=interface)
            got, size = run_onnx(path, fed, BATCH), path.stat().st_size
        accuracies = [float((logits.argmax(1) == split.labels).double().mean()) for logits in (expected, got)]
        agreement, difference = class_agreement(expected, got), largest_difference(expected, got) / span
        print(
            f"| {folder.resolve().name} | {len(split):,} | {name} | {accuracies[0]:.2%} / {accuracies[1]:.2%} | "
            f"{round(agreement * len(split)):,} of {len(split):,} | {difference:.1e} | {size:,} / {weights:,} |",
            flush=True,
        )
        holds &= agreement == 1 and difference <= LIMIT and accuracies[0] == accuracies[1]
        holds &= size <= 1.05 * weights + 200 * 1024
    return holds


def main() -> int:
    """Compare the models given as arguments."""
    pairs = [argument.rpartition("=") for argument in sys.argv[1:]]
    if not pairs or not all(folder for folder, _, _ in pairs):
        print("give FOLDER=DATA, e.g. models/digits=artifacts/data", file=sys.stderr)
        return 2
    print(f"{HEAD}\n|{'---|' * HEAD.count(' | ')}---|")
    try:
        hold = [compare(Path(folder), Path(data)) for folder, _, data in pairs]  # all of them, whatever the first says
    except MidasError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if all(hold) else 1


if __name__ == "__main__":
    sys.exit(main())
