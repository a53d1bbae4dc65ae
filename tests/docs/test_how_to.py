"""The how-to pages are followed to the letter in a copy of the project; then their code is used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages_of_docs import ROOT, blocks, follow

HOW_TO = ROOT / "docs/how-to"
PAGES = ("add-an-operation.md", "add-a-method.md", "add-a-data-source.md")
USE = """
import csv, sys, torch
from pathlib import Path
import numpy as np
from PIL import Image
import midas
from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.data.prepared import load_split
from midas.genotype import CellGenotype, Edge, Genotype
from midas.search.run import run_search
from midas.search.config import SearchConfig
from midas.decode.decode import decode, sample_weights
from midas.decode.monitor import decode_batches
from midas.spaces import get_space

photos, out = Path(sys.argv[1]), Path(sys.argv[2])
photos.mkdir()
draws = np.random.default_rng(0)
with (photos / "labels.csv").open("w") as file:
    table = csv.writer(file)
    table.writerow(["path", "class"])
    for k in range(48):
        Image.fromarray(draws.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(photos / f"{k}.png")
        table.writerow([f"{k}.png", "ab"[k % 2]])
meta = prepare(DataConfig(source="table", root=str(photos), image_size=8), out)
train = load_split(out / "train.safetensors")
space = get_space("blurred")
config = SearchConfig(
    method="tempered", channels=2, cells=3, epochs=1, batch_size=8, monitor_images=8
)
result = run_search(space, config, train, meta, seed=0)
assert any(float(p) != 0 for p in result.method.log_t.values()), "the temperatures learn"
samples = sample_weights(result.supernet, result.method, decode_batches(train, meta, 8))
space.check(decode(samples, space))
edges = tuple(Edge("blur_3x3", s, t) for t in range(2, 6) for s in (0, 1))
blurs = CellGenotype(edges, (2, 3, 4, 5))
genotype = Genotype("blurred", {"normal": blurs, "reduce": blurs})
network = midas.build_network(genotype, num_classes=2, channels=4, cells=3)
network(torch.rand(2, 3, 8, 8)).sum().backward()
assert all(p.grad is not None for p in network.parameters())
print("classes", *meta.classes)
"""


def test_an_operation_takes_one_new_file_and_one_line() -> None:
    first = [block for block in blocks(HOW_TO / "add-an-operation.md") if block.title][:2]
    assert [block.language for block in first] == ["python", "diff"]
    assert 'OPERATIONS["blur_3x3"]' in first[0].text
    assert [line[0] for line in first[1].text.splitlines()].count("+") == 1
    assert not any(line.startswith("-") for line in first[1].text.splitlines())


@pytest.mark.parametrize("page", PAGES)
def test_the_lines_that_a_page_changes_are_there_and_its_files_are_clean(
    page: str, tmp_path: Path
) -> None:
    shutil.copytree(
        ROOT / "midas", tmp_path / "midas", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    written = follow(HOW_TO / page, tmp_path)
    assert written
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "midas"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_what_the_pages_add_is_searched_built_and_trained(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "midas", tmp_path / "midas", ignore=shutil.ignore_patterns("__pycache__")
    )
    for page in PAGES:
        follow(HOW_TO / page, tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", USE, str(tmp_path / "photos"), str(tmp_path / "out")]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.splitlines()[-1] == "classes a b"
