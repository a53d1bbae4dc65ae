"""Two processes search as one does that runs the halves of each batch in turn: the same losses, the same cell."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from midas.runs.errors import ParamsError
from midas.runs.world import World

HERE = Path(__file__).parent
SCRIPT = HERE / "search_in_two.py"


def of_one_process() -> Any:
    """The script, as a module of this process."""
    specification = importlib.util.spec_from_file_location("search_in_two", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_two_processes_equal_one_that_averages_two_half_batches(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", SCRIPT, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    expected = of_one_process().search(World(), 2)
    assert len(expected["losses"]) == 2 * 52
    for rank in (0, 1):
        found = json.loads((tmp_path / f"rank-{rank}.json").read_text())
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-6)
        assert found["seen"]["genotype"] == expected["seen"]["genotype"]


def test_a_batch_that_the_processes_cannot_share_is_named() -> None:
    with pytest.raises(ParamsError, match=r"search\.batch_size: 8 cannot be divided into 3 equal parts of 2 or more"):
        of_one_process().search(World(0, 3), 1)
