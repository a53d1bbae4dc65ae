"""`make search`: the seeds of a search side by side, each as `dvc repro` would have run it."""

from pathlib import Path

import pytest
import yaml
from clones import draw_images, edit, make_clone, run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("make")]  # two dozen programs start; CI runs `make repro` twice


def test_make_searches_all_seeds_once_and_ends_where_one_fails(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "a clone")
    (clone / ".venv").mkdir()
    (clone / ".venv/.installed").touch()  # this environment is the one that is tested
    run(clone, "midas", "init", "folder")
    edit(clone / "params.yaml", root=str(draw_images(tmp_path / "images", 90)), image_size="8")
    edit(clone / "params.yaml", epochs="1", channels="4", cells="3", start_size="null", seeds="[0, 7]")
    first = run(clone, "make", "search", "JOBS=2").stdout
    assert "Running stage 'search@0'" in first
    assert "Running stage 'search@7'" in first
    stages = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
    assert sorted(stages) == ["data", "search@0", "search@7"]
    assert "Running stage" not in run(clone, "make", "search", "JOBS=2").stdout
    assert "search" not in run(clone, "dvc", "status", "data", "search").stdout

    edit(clone / "params.yaml", patch_size="64")
    failed = run(clone, "make", "repro", "JOBS=2", check=False)
    assert failed.returncode
    assert "failed to reproduce 'search@" in failed.stderr
    assert "Running stage 'decode'" not in failed.stdout
