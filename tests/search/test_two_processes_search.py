"""Two processes search as one that runs the halves of each batch in turn: to the same cell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from search_in_two import search

from midas.engine.distributed import Distributed
from midas.io.errors import ParamsError

HERE = Path(__file__).parent


@pytest.mark.slow
def test_two_processes_equal_one_that_averages_two_half_batches(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    paths = [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", str(HERE / "search_in_two.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    expected = search(Distributed(), 2)
    assert len(expected["losses"]) == 2 * 52
    for rank in (0, 1):
        result = json.loads((tmp_path / f"rank-{rank}.json").read_text())
        assert result["losses"] == pytest.approx(expected["losses"], rel=1e-6)
        assert result["genotype"] == expected["genotype"]


def test_a_batch_that_the_processes_cannot_share_is_named() -> None:
    message = r"search\.batch_size: 8 cannot be divided into 3 equal parts of 2 or more"
    with pytest.raises(ParamsError, match=message):
        search(Distributed(0, 3), 1)
