"""Two runs at once in one work tree: the second names the first; a killed run holds no lock."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from midas.io.errors import MidasError
from pipeline.run_stage import lock

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pipeline.run_stage import lock
with lock(sys.argv[1]):
    print(flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def holder(stage: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that runs a stage in this folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, stage], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_a_second_run_of_a_stage_names_the_process_that_runs_it() -> None:
    with holder("search@0") as process:
        message = rf"search@0: process {process.pid} is running it.*kill {process.pid}"
        with pytest.raises(MidasError, match=message), lock("search@0"):
            pass
        with lock("search@1"):
            pass  # another seed may be searched at the same time


def test_the_lock_of_a_killed_run_is_free() -> None:
    with holder("search@0") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with lock("search@0"):
            pass


def test_the_lock_of_a_killed_run_is_held_on_by_what_it_started(clone: Path) -> None:
    """As torchrun is started, which goes on when its parent is killed."""
    (clone / "params.yaml").write_text("launcher: torchrun --nproc-per-node 1\n")
    sleeps = "import os, sys, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    (clone / "stands_in.py").write_text(sleeps)
    run = """
import subprocess, sys
from pipeline import launch
from pipeline.run_stage import lock

popen = subprocess.Popen

def start_instead(command, **options):
    if "torch.distributed.run" in command:
        command = [sys.executable, "stands_in.py"]
    return popen(command, **options)

launch.subprocess.Popen = start_instead
with lock("search@0"):
    launch.launch("search", "0")
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", run], env=environment) as process:
        while not (clone / "pid").is_file() or not (clone / "pid").read_text():
            assert process.poll() is None, "nothing was started"
            time.sleep(0.05)
        child = int((clone / "pid").read_text())
        process.kill()
        process.wait()
        with pytest.raises(MidasError, match="is running it"), lock("search@0"):
            pass
        os.kill(child, signal.SIGKILL)
        while True:  # the kernel takes it back when the child has ended
            with contextlib.suppress(MidasError), lock("search@0"):
                return
            time.sleep(0.05)


def test_the_lock_is_free_after_a_stage_that_failed() -> None:
    with pytest.raises(ValueError, match="no"), lock("train@digits"):
        raise ValueError("no")
    with lock("train@digits"):
        pass


def test_a_name_with_slashes_stays_in_the_folder_of_checkpoints(clone: Path) -> None:
    with lock("train@../../elsewhere"):
        assert [path.name for path in (clone / ".checkpoints").iterdir()] == [
            "train@..%2F..%2Felsewhere.lock"
        ]


def test_workers_under_torchrun_share_the_lock_of_their_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with holder("search@0"):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
        with lock("search@0"):
            pass


def test_what_a_killed_dvc_had_locked_is_taken_back_with_a_warning(clone: Path) -> None:
    """DVC's own bookkeeping, .dvc/tmp/rwlock: an entry of a process that is no more."""
    dvc = [sys.executable, "-m", "dvc"]
    (clone / "dvc.yaml").write_text("stages:\n  one:\n    cmd: touch out\n    outs: [out]\n")
    subprocess.run([*dvc, "init", "-q", "--no-scm"], check=True)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    entry = {"pid": gone.pid, "cmd": "dvc repro"}
    (clone / ".dvc/tmp").mkdir(exist_ok=True)
    (clone / ".dvc/tmp/rwlock").write_text(
        json.dumps({"write": {str(clone / "out"): entry}, "read": {}})
    )
    result = subprocess.run([*dvc, "repro"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert f"(Pid {gone.pid})" in result.stderr
    assert "had been killed" in result.stderr
    assert (clone / "out").is_file()


def test_a_second_dvc_repro_in_one_work_tree_says_who_holds_it(clone: Path) -> None:
    dvc = [sys.executable, "-m", "dvc"]
    (clone / "go on").mkdir()
    command = "touch started; while [ ! -e 'go on/now' ]; do sleep 0.1; done; touch out"
    (clone / "dvc.yaml").write_text(f"stages:\n  one:\n    cmd: {command}\n    outs: [out]\n")
    subprocess.run([*dvc, "init", "-q", "--no-scm"], check=True)
    with subprocess.Popen([*dvc, "repro"], stdout=subprocess.DEVNULL) as first:
        while not (clone / "started").is_file():
            assert first.poll() is None, "the first ended before the second was started"
            time.sleep(0.05)
        second = subprocess.run([*dvc, "repro"], capture_output=True, text=True, check=False)
        (clone / "go on/now").touch()
    assert second.returncode != 0
    assert f"(PID {first.pid})" in second.stderr
    assert first.returncode == 0
    assert (clone / "out").is_file()
