"""Two processes train as one does that runs the halves of each batch in turn, and losing one of them loses little."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from two_processes import losses_of

from midas.runs.world import World
from midas.train.trainer import Trainer

HERE = Path(__file__).parent


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*command, str(HERE / "two_processes.py"), *arguments],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_equal_one_that_averages_two_half_batches(tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    alone.mkdir()
    done = torchrun(str(together))
    assert done.returncode == 0, done.stderr[-2000:]
    expected = losses_of(World(), 2, alone)
    assert len(expected) == 52
    for rank in (0, 1):
        found = json.loads((together / f"losses-{rank}.json").read_text())
        assert found == pytest.approx(expected, rel=1e-6)
    one, two = (torch.load(folder / "last.pt", weights_only=True) for folder in (alone, together))
    for name, weight in one.items():
        if "running" not in name and "tracked" not in name:  # one process moves them twice a step
            torch.testing.assert_close(two[name], weight, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_a_killed_process_ends_the_run_which_then_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert torchrun(str(whole)).returncode == 0
    died = torchrun(str(cut), "22")
    assert died.returncode != 0
    assert "another process of the run has ended" in died.stderr
    assert (cut / "checkpoint/print.pt").is_file()
    assert torchrun(str(cut)).returncode == 0
    one, two = (torch.load(folder / "last.pt", weights_only=True) for folder in (whole, cut))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_batch_that_the_processes_cannot_share_is_named() -> None:
    from test_train_loop import GENOTYPE, META, RECIPE, TRAIN

    from midas.runs.errors import ParamsError
    from midas.train.config import TargetConfig
    from midas.train.start import initial_network
    from midas.train.state import new_state

    config = TargetConfig(**RECIPE)
    state = new_state(initial_network(GENOTYPE, config, 2), config)
    with pytest.raises(ParamsError, match="batch_size 16 cannot be divided among 3 processes"):
        Trainer(state, config, TRAIN, META, "train", World(0, 3))
