"""`make search` runs the seeds side by side; `make repro` hides the quickstart's lock from git."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from clones import IDENTITY, ROOT, draw_images, edit, make_clone, run


@pytest.fixture
def tried(tmp_path: Path) -> Path:
    """A committed clone of what `make repro` reads, with programs that do nothing but write a
    lock.
    """
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "presets", clone / "presets")
    for name in ("Makefile", "dvc.yaml", "pyproject.toml", "constraints.txt", "versions.txt"):
        shutil.copy(ROOT / name, clone / name)
    shutil.copy(ROOT / "presets/quickstart.yaml", clone / "params.yaml")
    (clone / "dvc.lock").write_text("of another processor\n")
    (clone / ".gitignore").write_text(".venv/\n")
    programs = clone / ".venv/bin"
    programs.mkdir(parents=True)
    write_lock = '[ "$1" = status ] || echo of this one > dvc.lock'
    for name, line in {"dvc": write_lock, "midas": ":"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    (clone / ".venv/.installed").touch()
    for command in (("init", "-q"), ("add", "-A"), (*IDENTITY, "commit", "-qm", "start")):
        run(clone, "git", *command)
    return clone


def changed_files(clone: Path) -> list[str]:
    """What git shows as changed after another `make repro`."""
    run(clone, "make", "repro")
    assert (clone / "dvc.lock").read_text() == "of this one\n"
    return run(clone, "git", "status", "--porcelain").stdout.split()[1::2]


def test_a_clone_that_tries_the_quickstart_has_nothing_to_commit(tried: Path) -> None:
    assert changed_files(tried) == []
    assert changed_files(tried) == []


def test_with_other_parameters_or_other_code_the_lock_is_shown(tried: Path) -> None:
    assert changed_files(tried) == []
    with (tried / "params.yaml").open("a") as file:
        file.write("# mine\n")
    assert changed_files(tried) == ["dvc.lock", "params.yaml"]
    run(tried, "git", *IDENTITY, "commit", "-qm", "mine", "params.yaml")
    assert changed_files(tried) == ["dvc.lock"], "committed parameters are not the quickstart's"
    run(tried, "git", "checkout", "-q", "HEAD~", "params.yaml")
    run(tried, "git", *IDENTITY, "commit", "-qm", "as before", "params.yaml")
    assert changed_files(tried) == []
    (tried / "dvc.yaml").write_text("stages: {}\n")
    assert changed_files(tried) == ["dvc.lock", "dvc.yaml"]


def test_after_init_of_a_preset_the_lock_is_shown(tried: Path) -> None:
    assert changed_files(tried) == []
    code = "from pipeline.cli import init; init('folder')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tried, env=environment, check=True)
    shown = run(tried, "git", "status", "--porcelain").stdout.split()[1::2]
    assert shown == ["dvc.lock", "params.yaml"]


@pytest.mark.slow  # two dozen programs start; CI runs `make repro` twice
def test_make_searches_all_seeds_once_and_ends_where_one_fails(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "a clone")
    (clone / ".venv").mkdir()
    (clone / ".venv/.installed").touch()  # this environment is the one that is tested
    run(clone, "midas", "init", "folder")
    edit(clone / "params.yaml", root=str(draw_images(tmp_path / "images", 90)), image_size="8")
    edit(clone / "params.yaml", epochs="1", channels="4", cells="3", start_size="null")
    edit(clone / "params.yaml", seeds="[0, 7]")
    first = run(clone, "make", "search", "JOBS=2").stdout
    assert "Running stage 'search@0'" in first
    assert "Running stage 'search@7'" in first
    stages = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
    assert sorted(stages) == ["data", "decode@0", "decode@7", "search@0", "search@7"]
    assert "Running stage" not in run(clone, "make", "search", "JOBS=2").stdout
    assert "search" not in run(clone, "dvc", "status", "data", "search", "decode").stdout

    edit(clone / "params.yaml", patch_size="64")
    failed = run(clone, "make", "repro", "JOBS=2", check=False)
    assert failed.returncode
    assert "failed to reproduce 'search@" in failed.stderr
    assert "Running stage 'decode@" not in failed.stdout
