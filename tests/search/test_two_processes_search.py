"""Two processes search as one does that runs the halves of each batch in turn: the same losses, the same cell."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from midas.runs.world import World

HERE = Path(__file__).parent


@pytest.mark.slow
def test_two_processes_equal_one_that_averages_two_half_batches(tmp_path: Path) -> None:
    script = HERE / "search_in_two.py"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    specification = importlib.util.spec_from_file_location("search_in_two", script)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    expected = module.search(World(), 2)
    assert len(expected["losses"]) == 2 * 52
    for rank in (0, 1):
        found = json.loads((tmp_path / f"rank-{rank}.json").read_text())
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-6)
        assert found["seen"]["genotype"] == expected["seen"]["genotype"]
