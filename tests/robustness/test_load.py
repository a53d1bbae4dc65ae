"""Many models, many images, many seeds and targets: time and memory stay in bounds."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
# MiB on Linux
PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"


def python(code: str, *arguments: str) -> list[str]:
    """Run code in a process of its own; the lines that it printed."""
    command = [sys.executable, "-c", code, *arguments]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def write_images(folder: Path, count: int, classes: int) -> None:
    """Different images of 8x8 pixels, as PPM: a header and the bytes."""
    for name in range(classes):
        (folder / f"class {name}").mkdir(parents=True)
    for i in range(count):
        pixels = i.to_bytes(4, "big") * 48
        (folder / f"class {i % classes}" / f"{i}.ppm").write_bytes(b"P6 8 8 255\n" + pixels)


def test_twenty_seeds_and_ten_targets_with_twenty_seeds_are_planned_in_seconds(
    tmp_path: Path,
) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["seeds"] = params["training_seeds"] = list(range(20))
    params["targets"] = {f"target{i}": params["targets"]["digits"] for i in range(10)}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    status = subprocess.run(
        [*dvc, "status", "--json"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    # data, searches and decodings, select and analyse, trainings, a target's other stages, report
    assert len(json.loads(status)) == 1 + 2 * 20 + 2 + 20 * 10 + 3 * 10 + 1
    assert end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime < 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_models_are_built_exported_and_checked_without_growth_of_memory(
    tmp_path: Path,
) -> None:
    code = """
import sys; sys.path.insert(0, sys.argv[2])
from pathlib import Path
from model_folders import META, split_of, write_model_folder
from midas.deploy.export import ExportConfig
from midas.deploy.export_folder import ship
for seed in range(50):
    folder = write_model_folder(Path(sys.argv[1], str(seed)), seed)
    ship(folder, ExportConfig(), split_of(8, seed), META, "1")
    print(int(Path("/proc/self/statm").read_text().split()[1]) // 256, flush=True)
"""
    resident = [int(line) for line in python(code, str(tmp_path), str(ROOT / "tests/deploy"))]
    print("MiB after each model:", resident)
    assert len(resident) == 50
    assert resident[-1] - resident[9] < 200, resident  # the first models fill caches


@pytest.mark.slow
def test_ten_thousand_images_are_predicted_in_bounded_memory(tmp_path: Path) -> None:
    model = Path(__file__).with_name("schema_1") / "model/model.onnx"
    code = f"""
import sys, runpy
sys.argv[1:] = [{str(model)!r}, "--json", sys.argv[1]]
try:
    runpy.run_path({str(ROOT / "midas/deploy/predict.py")!r}, run_name="__main__")
except SystemExit as end:
    assert not end.code
{PEAK}
"""
    peaks = []
    for count in (1_000, 10_000):
        write_images(tmp_path / str(count), count, 1)
        *answers, peak = python(code, str(tmp_path / str(count)))
        assert len(answers) == count
        peaks.append(int(peak))
    print("peak MiB at 1,000 and 10,000 images:", peaks)
    assert peaks[1] - peaks[0] < 100


@pytest.mark.slow
def test_two_hundred_thousand_images_go_through_the_data_stage_in_bounded_memory(
    tmp_path: Path,
) -> None:
    write_images(tmp_path / "images", 200_000, 10)
    code = f"""
import sys
from pathlib import Path
from midas.data.config import DataConfig
from midas.data.prepare import prepare
config = DataConfig(source="folder", root=sys.argv[1], image_size=8)
print(sum(prepare(config, Path(sys.argv[2])).counts.values()))
{PEAK}
"""
    start = time.monotonic()
    count, peak = python(code, str(tmp_path / "images"), str(tmp_path / "out"))
    print(f"peak {peak} MiB, {time.monotonic() - start:.0f} s")
    assert int(count) == 200_000
    assert int(peak) < 1_500  # 37 MiB of pixels, 500 of libraries, paths and hashes
