"""Two processes train as one that runs the halves of each batch; losing one loses little."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_train_loop import GENOTYPE, META, RECIPE, TRAIN, VAL
from two_processes import losses_of

from midas.engine.distributed import Distributed
from midas.io.errors import ParamsError
from midas.train.config import TargetConfig
from midas.train.start import initial_network
from midas.train.training import Training

HERE = Path(__file__).parent


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [*launcher, "--nproc-per-node", "2", str(HERE / "two_processes.py"), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_two_processes_equal_one_that_averages_two_half_batches(tmp_path: Path) -> None:
    together = tmp_path / "together"
    alone = tmp_path / "alone"
    together.mkdir()
    alone.mkdir()
    done = torchrun(str(together))
    assert done.returncode == 0, done.stderr[-2000:]
    expected = losses_of(Distributed(), 2, alone)
    assert len(expected) == 52
    for rank in (0, 1):
        losses = json.loads((together / f"losses-{rank}.json").read_text())
        assert losses == pytest.approx(expected, rel=1e-6)
    weights = torch.load(alone / "last.pt", weights_only=True)
    others = torch.load(together / "last.pt", weights_only=True)
    for name, weight in weights.items():
        if "running" not in name and "tracked" not in name:  # one process moves them twice a step
            torch.testing.assert_close(others[name], weight, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_a_killed_process_ends_the_run_which_then_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    cut = tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert torchrun(str(whole)).returncode == 0
    died = torchrun(str(cut), "22")
    assert died.returncode != 0
    assert "another process of the run has ended" in died.stderr
    assert (cut / "checkpoint/print.pt").is_file()
    assert torchrun(str(cut)).returncode == 0
    weights = torch.load(whole / "last.pt", weights_only=True)
    others = torch.load(cut / "last.pt", weights_only=True)
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())


def test_a_batch_that_the_processes_cannot_share_is_named() -> None:
    config = TargetConfig(**RECIPE)
    network = initial_network(GENOTYPE, config, 2)
    with pytest.raises(ParamsError, match="batch_size 16 cannot be divided among 3 processes"):
        Training(network, config, TRAIN, VAL, META, "train", Distributed(0, 3), seed=0)
