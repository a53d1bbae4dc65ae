"""Models of ten families of timm: trained a little, as a folder, an ONNX file and by predict.py.

    python benchmarks/timm_targets.py [NAME ...]

Prints a Markdown table; exit code 1 where a model does not. Images are random, 64 pixels wide.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from midas.data.prepared import DataMeta, Split
from midas.deploy.export import ExportConfig
from midas.deploy.export_folder import ship
from midas.nets import timm_models
from midas.train.config import TimmTargetConfig
from midas.train.run import train
from midas.train.start import start_network
from midas.zoo.card import model_card
from midas.zoo.model_folder import save_model_folder, with_trained

NAMES = (
    "resnet18", "mobilenetv3_small_050", "tf_efficientnet_lite0", "convnext_atto", "regnetx_002",
    "vit_tiny_patch16_224", "levit_128s", "repvgg_a0", "ghostnet_050", "edgenext_xx_small",
)  # fmt: skip
SIZE = 64
THIRDS = (0.3, 0.3, 0.3)
META = DataMeta(("a", "b", "c"), SIZE, THIRDS, THIRDS, {"train": 16}, "0", "random", {}, 0)
LOAD = "import sys, timm; timm.create_model(sys.argv[1], pretrained=True)"


def split(count: int) -> Split:
    """Random images."""
    images = torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8)
    return Split(images, torch.arange(count) % 3)


def check(name: str, folder: Path) -> str:
    """A model's row of the table, after all steps; one that fails raises its own error."""
    start = time.monotonic()
    config = TimmTargetConfig(model=name, epochs=2, batch_size=8, learning_rate=0.01, augment={})
    network, meta = start_network(None, config, META)
    result = train(network, config, split(16), split(8), meta)
    model = with_trained(timm_models.create(name, 3, SIZE), result.best, META)
    card = model_card(name, model, None, META, result.metrics, {"training": {"model": name}})
    save_model_folder(folder, model, None, META, card)
    parity = ship(folder, ExportConfig(), split(8), META, "benchmark")
    Image.new("RGB", (80, 70)).save(folder / "image.png")
    for command in (["-c", LOAD, f"local-dir:{folder}"], ["predict.py", "image.png"]):
        subprocess.run([sys.executable, *command], cwd=folder, check=True, capture_output=True)
    difference = f"{parity['relative_difference']:.0e} | {time.monotonic() - start:.0f}"
    return f"| {name} | {result.metrics['parameters']:,} | {difference} |"


if __name__ == "__main__":
    failed = 0
    print("| model | parameters | largest difference | seconds |\n|---|---|---|---|")
    for name in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as temporary:
            try:
                print(check(name, Path(temporary, name)), flush=True)
            except Exception as error:  # the table goes on with the next model
                failed += 1
                print(f"| {name} | {type(error).__name__}: {' '.join(str(error).split())[:150]} |")
    sys.exit(min(failed, 1))
