"""Whether ONNX files agree with their networks on every test image.

    python benchmarks/onnx_files.py models/digits=artifacts/data [FOLDER=DATA ...]

FOLDER is a model folder as `build` leaves it, DATA the prepared data that it learned from. The
network sees the images of the test split as timm's own transform makes them; one ONNX file sees the
same images, another the pixels. Prints a Markdown table; exit code 1 where a limit does not hold.
How long a file takes is what `midas bench onnx FOLDER` says.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import timm
import torch
from PIL import Image
from torch import Tensor

from midas.data.prepared import load_meta, load_split
from midas.deploy.export import export_onnx
from midas.deploy.interface import PLAIN, Interface
from midas.deploy.parity import class_agreement, largest_difference
from midas.deploy.runtimes import run_onnx, run_torch
from midas.io.errors import MidasError
from midas.zoo.model_folder import check_data, open_model_folder

LIMIT = 1e-4  # largest difference of a logit over the range of the logits
BATCH = 64


def transform(pixels: Tensor, config: dict[str, object]) -> Tensor:
    """Pixels uint8 [N, 3, H, W] by timm's transform; they are resized and cropped already."""
    settings = timm.data.resolve_data_config(config)
    function = timm.data.create_transform(**settings, is_training=False)
    images = (Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in pixels)
    return torch.stack([function(image) for image in images])


def agrees(folder: Path, data: Path) -> bool:
    """Print the rows of one model; whether its files keep the limits."""
    model, config = open_model_folder(folder)
    split = load_split(data / "test.safetensors")
    meta = load_meta(data / "meta.json")
    meta = check_data(folder, config, meta)
    images = transform(split.images, config["pretrained_cfg"])
    pixels = Interface(meta.mean, meta.std, input="uint8-nhwc")
    logits = run_torch(model, images, BATCH)
    weights = (folder / "model.safetensors").stat().st_size
    is_kept = True
    for name, interface, inputs in (
        ("floats", PLAIN, images),
        ("pixels", pixels, pixels.encode(split.images)),
    ):
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary, "model.onnx")
            size = (3, meta.size, meta.size)
            export_onnx(model, path, input_size=size, metadata={}, interface=interface)
            output = run_onnx(path, inputs, BATCH)
            file_size = path.stat().st_size
        accuracy = float((output.argmax(1) == split.labels).double().mean())
        agreement = class_agreement(logits, output)
        difference = largest_difference(logits, output) / float(logits.max() - logits.min())
        same = f"{round(agreement * len(split)):,} of {len(split):,}"
        sizes = f"{file_size:,} / {weights:,}"
        cells = [folder.name, name, f"{accuracy:.2%}", same, f"{difference:.1e}", sizes]
        print(f"| {' | '.join(cells)} |", flush=True)
        is_small = file_size <= 1.05 * weights + 200 * 1024
        is_kept &= agreement == 1 and difference <= LIMIT and is_small
    return is_kept


def main() -> int:
    """Compare the files of each folder; exit code 1 where a limit does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", nargs="+", metavar="FOLDER=DATA")
    pairs = [pair.rpartition("=") for pair in parser.parse_args().pairs]
    print("| model | file | accuracy | same class as torch | difference | file / weights, bytes |")
    print("|---|---|---|---|---|---|")
    try:
        agree = [agrees(Path(folder), Path(data)) for folder, _, data in pairs]
    except MidasError as error:
        parser.error(str(error))
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main())
