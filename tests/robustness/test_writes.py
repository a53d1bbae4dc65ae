"""Files are whole or not there: on a full disk, a read-only one, another one, after a kill."""

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from midas.engine.checkpoint import Checkpoint
from midas.io import files

ROOT = Path(__file__).parents[2]
UNSHARE = ["unshare", "--map-root-user", "--mount"]


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened to writes on a disk of 64 KiB, which only one process sees."""
    if (
        not sys.platform.startswith("linux")
        or subprocess.run([*UNSHARE, "true"], check=False).returncode
    ):
        pytest.skip(
            "this system lets no user mount a disk of their own (unshare --map-root-user --mount)"
        )
    command = [*UNSHARE, sys.executable, str(Path(__file__).with_name("small_disk.py"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    folder = tmp_path_factory.mktemp("small")
    result = subprocess.run(
        [*command, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    outcome: dict[str, Any] = json.loads(result.stdout)
    return outcome


def test_a_full_disk_is_one_line_and_the_old_files_stay_whole(small_disk: dict[str, Any]) -> None:
    assert set(small_disk["full"]) == {"text", "json", "csv", "checkpoint", "split"}
    for name, message in small_disk["full"].items():
        assert (
            "cannot be written (No space left on device); the old file, if any, is whole" in message
        ), name
        assert "\n" not in message
    assert small_disk["kept"]  # and nothing half-written stands beside them


def test_a_read_only_folder_is_one_line(small_disk: dict[str, Any]) -> None:
    for name, message in small_disk["read only"].items():
        assert "cannot be written (Read-only file system)" in message, name
        assert "\n" not in message


def test_what_a_killed_process_left_is_removed_by_the_next_write_and_a_living_ones_file_is_not(
    tmp_path: Path,
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    left, others = tmp_path / f".a[1].json.{gone.pid}.xyz.part", [
        tmp_path / f".a[1].json.{os.getppid()}.xyz.part",  # being written at this moment
        tmp_path / f".b.json.{gone.pid}.xyz.part",  # of another target
        tmp_path / ".a[1].json.old.part",  # somebody else's name
    ]  # fmt: skip
    for path in (left, *others):
        path.write_bytes(b"half")
    files.write_json(tmp_path / "a[1].json", {})
    assert not left.exists()
    assert all(path.exists() for path in others)


def test_bytes_reach_the_disk_before_the_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda handle: order.append(Path(f"/proc/self/fd/{handle}").readlink()) or sync(handle),
    )
    monkeypatch.setattr(
        Path, "replace", lambda self, target: order.append("rename") or replace(self, target)
    )
    files.write_text(tmp_path / "x", "text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inner").write_text("text")
    files.move(tmp_path / "folder", tmp_path / "moved")
    names = [step if step == "rename" else step.name for step in order]
    assert names[0].startswith(".x.")
    assert names[1:] == ["rename", tmp_path.name, "inner", "folder", "rename", tmp_path.name]


def test_another_file_system_and_a_name_with_spaces_and_letters_of_the_world(
    tmp_path: Path,
) -> None:
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is not another file system here")
    link = tmp_path / "Größe — 大小"
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        link.symlink_to(other)
        checkpoint = Checkpoint(link / "search 0", "print")
        checkpoint.save({"weights": torch.ones(3)})
        assert torch.equal(checkpoint.load()["weights"], torch.ones(3))
        files.write_text(link / "a" / "ß.txt", "ü")
        assert (Path(other) / "a" / "ß.txt").read_text() == "ü"


WRITERS = {
    "write_text",
    "write_bytes",
    "savefig",
    "copyfile",
    "copy2",
    "to_csv",
    "savez",
    "tofile",
    "mkstemp",
}
ALLOWED = {  # beside midas/io/files.py, which opens each file itself
    "pipeline/report/charts.py": "draws into memory",
    "pipeline/cli.py": "init must not import midas; writes to a temporary name, then renames",
}  # fmt: skip


def test_no_module_writes_a_file_by_itself() -> None:
    modules = set()
    for path in [
        *(ROOT / "midas").rglob("*.py"),
        *(ROOT / "pipeline").rglob("*.py"),
        ROOT / "midas_cli.py",
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in WRITERS
            ):
                of_files = isinstance(node.func.value, ast.Name) and node.func.value.id == "files"
                if not of_files:
                    modules.add(path.relative_to(ROOT).as_posix())
    assert modules == set(ALLOWED)
