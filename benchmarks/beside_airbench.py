"""Our recipe beside airbench94's, for equal minutes on the same cores.

    git clone https://github.com/KellerJordan/cifar10-airbench CHECKOUT
    python benchmarks/beside_airbench.py --airbench CHECKOUT --root CIFAR --minutes 12

CHECKOUT/airbench94_muon.py runs in a process of its own, with a few words changed so that it runs
on a CPU in bfloat16; nothing of it is kept here. Ours is the target of presets/cifar10-cpu.yaml
with the paper's NAS-Bench-201 cell and `minutes`. Both see the official training images, less our
validation split in our case. The time of one epoch of each, measured first, sets how many it has.
Prints accuracy with and without mirrored test images, epochs, minutes and GFLOP/s of each.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import recipe_ablation
import rows
import torch

from midas.data.augment import normalise
from midas.data.prepared import DataMeta, Split
from midas.engine import memory, seeding
from midas.genotype import Genotype
from midas.train.config import TargetConfig
from midas.train.cost import fit_minutes
from midas.train.run import train
from midas.train.start import initial_network
from midas.train.validate import evaluate

SCRIPT = "airbench94_muon.py"
AIRBENCH_FLOP = 0.29e15 / 8  # of one of its epochs, as its README counts
CHANGES = {  # so that the script runs on a CPU
    "@torch.compile\n": "",
    "torch.backends.cudnn.benchmark = True": "",
    'torch.device("cuda")': 'torch.device("cpu")',
    ".half()": ".bfloat16()",
    ".cuda()": ".to(memory_format=torch.channels_last)",
    "torch.cuda.Event(enable_timing=True)": "Clock()",
    "torch.cuda.synchronize()": "",
    "download=True": "download=False",
    "ceil(8 * len(train_loader))": "ceil(EPOCHS * len(train_loader))",
    'model.compile(mode="max-autotune")': "",
}
PREFIX = """
import time
EPOCHS = float({epochs})
class Clock:
    def record(self): self.at = time.time()
    def elapsed_time(self, other): return 1000 * (other.at - self.at)
"""
SUFFIX = """
torch.manual_seed({seed})
start = time.time()
model = CifarNet().to(memory_format=torch.channels_last)
main("0", model)
loader = CifarLoader("cifar10", train=False, batch_size=2000)
print("RESULT", evaluate(model, loader, 0), evaluate(model, loader, 1), time.time() - start)
"""


def airbench(checkout: Path, root: Path, epochs: float, seed: int) -> tuple[float, float, float]:
    """Accuracy, accuracy with mirrored images and seconds of so many epochs of airbench."""
    source = (checkout / SCRIPT).read_text(encoding="utf-8")
    for old, new in CHANGES.items():
        source = source.replace(old, new)
    body = source.partition('if __name__ == "__main__"')[0]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cifar10").mkdir()
        (Path(folder) / "cifar10/cifar-10-batches-py").symlink_to(root / "cifar-10-batches-py")
        script = Path(folder) / "run.py"
        script.write_text(PREFIX.format(epochs=epochs) + body + SUFFIX.format(seed=seed))
        command = [sys.executable, str(script)]
        printed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    values = next(line for line in printed.stdout.splitlines() if line.startswith("RESULT"))
    accuracy, mirrored, seconds = map(float, values.split()[1:])
    return accuracy, mirrored, seconds


@torch.no_grad()
def mirrored_accuracy(network: torch.nn.Module, split: Split, meta: DataMeta) -> float:
    """The accuracy of the mean logits of each image and its mirror image."""
    network.eval()
    hits = 0
    for images, labels in zip(split.images.split(250), split.labels.split(250), strict=True):
        pixels = normalise(images, meta.mean, meta.std)
        logits = network(pixels) + network(pixels.flip(3))
        hits += int((logits.argmax(1) == labels).sum())
    return hits / len(split)


def ours(root: str, minutes: float, seed: int) -> tuple[float, float, float, int]:
    """Accuracy, accuracy with mirrored images, seconds and epochs of our recipe."""
    splits, meta = rows.images(root, recipe_ablation.PRESET["data"])
    target = {**recipe_ablation.PRESET["targets"]["cifar10"], "minutes": minutes, "epochs": 8}
    genotype = Genotype.from_arch(recipe_ablation.CELL)
    config = fit_minutes(genotype, TargetConfig(**target), splits["train"], meta)
    network = initial_network(genotype, config, len(meta.classes), seed=seed)
    start = time.perf_counter()
    result = train(network, config, splits["train"], splits["val"], meta, seed=seed)
    seconds = time.perf_counter() - start
    network.load_state_dict(result.best)
    plain = evaluate(network, splits["test"], meta).accuracy
    mirrored = mirrored_accuracy(network, splits["test"], meta)
    return plain, mirrored, seconds, config.epochs


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--airbench", required=True, type=Path)
    parser.add_argument("--root", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    memory.keep_freed()
    seeding.deterministic()
    print(f"{rows.processor()}, {torch.get_num_threads()} threads\n")
    print("| recipe | seed | epochs | minutes | accuracy | mirrored |\n|---|---|---|---|---|---|")
    for seed in options.seeds:
        *_, once = airbench(options.airbench, options.root.resolve(), 1, seed)
        epochs = round(60 * options.minutes / once, 2)
        plain, mirrored, seconds = airbench(options.airbench, options.root.resolve(), epochs, seed)
        speed = AIRBENCH_FLOP * epochs / seconds / 1e9
        print(
            f"| airbench94, {speed:.0f} GFLOP/s | {seed} | {epochs} | {seconds / 60:.1f} | "
            f"{plain:.2%} | {mirrored:.2%} |",
            flush=True,
        )
        plain, mirrored, seconds, count = ours(str(options.root), options.minutes, seed)
        print(
            f"| cifar10-cpu | {seed} | {count} | {seconds / 60:.1f} | {plain:.2%} | "
            f"{mirrored:.2%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
