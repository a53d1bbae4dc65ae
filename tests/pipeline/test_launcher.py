"""Two processes under torchrun: own images through all stages, and an interrupted training."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from clones import draw_images, edit, make_clone, run

from midas.io.files import read_json, sha256

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("launcher"), pytest.mark.timeout(1800)]
STAGES = (
    ("data",),
    ("search", "0"),
    ("decode", "0"),
    ("select",),
    ("train", "mine"),
    ("build", "mine"),
    ("export", "mine"),
    ("evaluate", "mine"),
)
BEST = "artifacts/train/mine/seed-0/best.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which two processes took a folder of JPEGs through all stages; `epochs` are enough
    to be interrupted.
    """
    clone = make_clone(tmp_path_factory.mktemp("two processes"))
    images = draw_images(tmp_path_factory.mktemp("images"), 120)
    run(clone, "midas", "init", "folder")
    edit(
        clone / "params.yaml",
        root=str(images),
        image_size="12",
        channels="4",
        cells="3",
        start_size="null",
        batch_size="16",
    )
    edit(clone / "params.yaml", seeds="[0]", epochs="6")
    with (clone / "params.yaml").open("a") as file:
        file.write("launcher: torchrun --nproc-per-node 2\n")
    for stage in STAGES:
        run(clone, "midas", *stage)
    return clone


def test_own_images_go_through_all_stages_with_two_processes(trained: Path) -> None:
    tested = read_json(trained / "artifacts/evaluate/mine/details.json")
    assert tested["class_agreement"] == 1
    assert tested["relative_difference"] <= 1e-4
    assert read_json(trained / "artifacts/train/mine/seed-0/metrics.json")["epochs"] == 6


def start(clone: Path) -> subprocess.Popen[str]:
    """A training that has to be done again."""
    (clone / BEST).unlink(missing_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "midas_cli", "train", "mine"],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ranks(process: subprocess.Popen[str]) -> Iterator[psutil.Process]:
    """The processes that train, rank 1 first."""
    workers = [
        p for p in psutil.Process(process.pid).children(recursive=True) if "RANK" in p.environ()
    ]
    assert len(workers) == 2
    yield from sorted(workers, key=lambda worker: -int(worker.environ()["RANK"]))


def saved(clone: Path) -> list[Path]:
    return list((clone / ".checkpoints/train-mine-0").glob("*.pt"))


def wait_for_a_checkpoint(clone: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 300
    while not saved(clone):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def test_after_a_killed_process_the_run_goes_on_from_its_checkpoint_to_the_same_bytes(
    trained: Path,
) -> None:
    whole = sha256(trained / BEST)
    process = start(trained)
    wait_for_a_checkpoint(trained, process)
    next(ranks(process)).kill()
    _, message = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "another process of the run has ended" in message
    assert message.splitlines()[-1].startswith(
        "midas: train mine 0: a process under torchrun failed (exit code 1)"
    )
    assert saved(trained)
    run(trained, "midas", "train", "mine")
    assert sha256(trained / BEST) == whole
    assert not saved(trained)


def test_after_sigterm_and_exit_code_75_the_run_goes_on_to_the_same_bytes(
    trained: Path,
) -> None:
    whole = sha256(trained / BEST)
    process = start(trained)
    wait_for_a_checkpoint(trained, process)
    process.send_signal(signal.SIGTERM)
    _, message = process.communicate(timeout=30)  # a scheduler waits no longer
    assert process.returncode == 75, message
    assert saved(trained)
    run(trained, "midas", "train", "mine")
    assert sha256(trained / BEST) == whole


def test_a_training_of_two_processes_may_end_with_one(trained: Path) -> None:
    process = start(trained)
    wait_for_a_checkpoint(trained, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    parameters = (trained / "params.yaml").read_text()
    edit(trained / "params.yaml", launcher="none")
    try:
        run(trained, "midas", "train", "mine")
    finally:
        (trained / "params.yaml").write_text(parameters)
    assert read_json(trained / "artifacts/train/mine/seed-0/metrics.json")["epochs"] == 6
