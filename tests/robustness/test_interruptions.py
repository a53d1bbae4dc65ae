"""An interrupted run ends with the bytes of an undisturbed one.

`benchmarks/interruptions.py` shows it of every stage, 30 times.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from search_to_kill import CONFIG, search

from midas.search.run import SearchResult

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def state(result: SearchResult) -> dict[str, torch.Tensor]:
    return {**result.supernet.state_dict(), **result.method.state_dict()}


def test_a_search_that_was_killed_ends_with_the_bits_of_one_that_was_not(
    digits_folder: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        str(Path(__file__).with_name("search_to_kill.py")),
        str(digits_folder),
        str(tmp_path),
    ]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
        while not list(tmp_path.glob("*.pt")):
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -9, "the search ended before it was killed"
    resumed = search(digits_folder, tmp_path)
    whole = search(digits_folder)
    assert len(resumed.history) == CONFIG.epochs
    assert resumed.history == whole.history
    assert state(resumed).keys() == state(whole).keys()
    assert all(torch.equal(state(resumed)[name], tensor) for name, tensor in state(whole).items())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_stage_that_was_interrupted_ends_with_the_bytes_of_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    harness = [sys.executable, str(ROOT / "benchmarks/interruptions.py"), "--folder", str(tmp_path)]
    for command in (["search", "train", "export", "--times", "3"], ["repro", "--times", "1"]):
        run = subprocess.run(
            [*harness, *command], env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        rows = re.findall(
            r"^\| (search|train|export|repro) .* (\d+) of (\d+) \|$", run.stdout, re.MULTILINE
        )
        assert rows == [(stage, command[-1], command[-1]) for stage in command[:-2]]
