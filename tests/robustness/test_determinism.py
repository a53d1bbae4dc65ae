"""The same parameters, data and versions give the same bytes; other seeds give others."""

import os
import sys
from pathlib import Path

import pytest
import torch
from search_to_kill import search

from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.io.files import sha256
from midas.search.config import SearchConfig
from midas.search.run import build_search
from midas.spaces import get_space

ROOT = Path(__file__).parents[2]


def test_prepared_data_are_the_same_bytes_with_one_thread_and_with_two(
    digits_folder: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(2)
    prepare(DataConfig(source="digits", image_size=8), tmp_path)
    for path in tmp_path.iterdir():
        assert sha256(path) == sha256(digits_folder / path.name), path.name


def test_seeds_start_from_other_weights_and_find_other_histories(digits_folder: Path) -> None:
    config = SearchConfig(channels=2, cells=1)
    weights = [
        build_search(get_space("nasbench201"), config, 10, seed)[0].state_dict()
        for seed in (0, 1, 0)
    ]
    assert all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert search(digits_folder, seed=0).history != search(digits_folder, seed=1).history


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_pipelines_in_two_places_leave_the_same_bytes(tmp_path: Path) -> None:
    """Two processes, two hash seeds, another file system, a path with spaces and letters of the
    world.
    """
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from interruptions import Project, hashes
    finally:
        sys.path.pop(0)
    import shutil
    import subprocess
    import tempfile

    results = []
    elsewhere = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=elsewhere) as name:
        for seed, folder in enumerate((Path(name), tmp_path / "Größe — 大 小")):
            folder.mkdir(exist_ok=True)
            project = Project(folder)
            environment = {**os.environ, **project.environment, "PYTHONHASHSEED": str(seed)}
            subprocess.run(["dvc", "repro", "-q"], cwd=project.clone, env=environment, check=True)
            results.append(hashes(project.clone, "repro"))
            shutil.rmtree(project.clone)
    assert len(results[0]) > 20
    assert results[0] == results[1]
