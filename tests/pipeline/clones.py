"""Clones of the working tree, commands run in them, and a folder of images to classify."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.org")
MODES = ("L", "RGB", "CMYK")


def run(clone: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in a clone, with this environment's programs and the clone's own code."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(clone),
        "COLUMNS": "200",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    result = subprocess.run(
        command, cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    if check and result.returncode:
        raise AssertionError(
            f"{command} exited {result.returncode}\n"
            f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
        )
    return result


def make_clone(folder: Path) -> Path:
    """A copy of the tracked files as they are in the working tree, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for command in (("init", "-q"), ("add", "-A"), (*IDENTITY, "commit", "-qm", "start")):
        run(folder, "git", *command)
    return folder


def draw_images(folder: Path, count: int = 200) -> Path:
    """JPEGs of mixed sizes and modes in three classes: stripes across, stripes down, and spots,
    with noise.
    """
    generator = np.random.default_rng(0)
    for index in range(count):
        kind = ("across", "down", "spots")[index % 3]
        height, width = generator.integers(20, 60, 2)
        rows, columns = np.mgrid[:height, :width] / generator.uniform(1.5, 3)
        wave = {
            "across": np.sin(rows),
            "down": np.sin(columns),
            "spots": np.sin(rows) * np.sin(columns),
        }[kind]
        pixels = np.clip(128 + 90 * wave + generator.normal(0, 15, wave.shape), 0, 255).astype(
            np.uint8
        )
        path = folder / kind / f"image {index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert(MODES[index % len(MODES)]).save(path, quality=95)
    return folder


def edit(path: Path, **lines: str) -> None:
    """Replace whole `key: value` lines of a YAML file, wherever they stand."""
    text = []
    for line in path.read_text().splitlines():
        key = line.strip().split(":")[0]
        indent = line[: len(line) - len(line.lstrip())]
        text.append(f"{indent}{key}: {lines[key]}" if key in lines else line)
    path.write_text("\n".join(text) + "\n")
