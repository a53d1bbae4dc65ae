"""`kill -9` during a search or a training loses nothing: run again, it ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clones import edit, make_clone, run

from midas.io.files import sha256


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose digits run is small, up to the stage that is killed."""
    clone = make_clone(tmp_path_factory.mktemp("kill"))
    edit(clone / "params.yaml", image_size="8", epochs="8", channels="4", cells="3", seeds="[0]")
    run(clone, "midas", "data")
    return clone


def saved(clone: Path) -> dict[Path, int]:
    """The checkpoints there are, with the times of their writing."""
    return {
        path: path.stat().st_mtime_ns
        for path in (clone / ".checkpoints").rglob("*.pt")
        if path.exists()
    }


def kill_after_first_checkpoint(
    clone: Path, *command: str, number: int = signal.SIGKILL, code: int = -signal.SIGKILL
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    process = subprocess.Popen(
        [sys.executable, "-m", "midas_cli", *command],
        cwd=clone,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    before = saved(clone)
    while saved(clone) in (before, {}):
        assert process.poll() is None, "the stage ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait() == code


@pytest.mark.slow
def test_killed_stages_end_with_the_bytes_of_undisturbed_ones(small: Path) -> None:
    search = small / "artifacts/search/seed-0/search.safetensors"
    best = small / "artifacts/train/digits/seed-0/best.safetensors"
    run(small, "midas", "search", "0")
    whole = sha256(search)
    search.unlink()
    kill_after_first_checkpoint(small, "search", "0")
    kill_after_first_checkpoint(small, "search", "0", number=signal.SIGTERM, code=75)
    assert not search.exists()
    run(small, "midas", "search", "0")
    assert sha256(search) == whole
    run(small, "midas", "decode", "0")
    run(small, "midas", "select")
    run(small, "midas", "train", "digits")
    whole = sha256(best)
    best.unlink()
    kill_after_first_checkpoint(small, "train", "digits")
    run(small, "midas", "train", "digits")
    assert sha256(best) == whole
    assert not (small / ".checkpoints" / "train-digits-0").exists()
