"""Files are written whole or not at all; seeds and fingerprints depend on what they name alone."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from midas.engine import seeding
from midas.engine.checkpoint import fingerprint
from midas.io import files
from midas.io.errors import LONGEST, MidasError, listed, shorten


def test_a_full_disk_leaves_the_old_file_whole_and_no_part_behind(tmp_path: Path) -> None:
    """A limit on file sizes stands for the full disk: a write fails in the middle with OSError."""
    path = tmp_path / "kept.json"
    files.write_text(path, "old")
    code = f"""
import resource, signal
from pathlib import Path
from midas.io import files
from midas.io.errors import MidasError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    files.write_bytes(Path({str(path)!r}), bytes(100_000))
except MidasError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "cannot be written" in result.stdout
    assert "the old file, if any, is whole" in result.stdout
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.json"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    files.write_text(path, "old")

    def interrupted() -> None:
        with files.writing(path) as file:
            file.write(b"half of the ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_a_file_that_is_missing_or_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    for name in ("x.json", "none.json"):
        with pytest.raises(MidasError, match=name):
            files.read_json(tmp_path / name)


def test_nan_cannot_be_written_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"loss": float("nan")})


def test_rows_become_csv_with_a_header(tmp_path: Path) -> None:
    files.write_csv(tmp_path / "h.csv", [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    assert (tmp_path / "h.csv").read_text() == "epoch,loss\n1,0.5\n2,0.25\n"


@given(st.integers(0, 2**31), st.lists(st.text(alphabet="abc", min_size=1), min_size=1, max_size=3))
def test_a_derived_seed_depends_on_seed_and_purpose_alone(seed: int, purpose: list[str]) -> None:
    torch.manual_seed(seed % 7)
    assert seeding.derive(seed, *purpose) == seeding.derive(seed, *purpose)
    assert seeding.derive(seed, *purpose) != seeding.derive(seed, *purpose, "more")
    assert seeding.derive(seed, *purpose) != seeding.derive(seed + 1, *purpose)
    assert 0 <= seeding.derive(seed, *purpose) < 2**63


def test_a_fingerprint_depends_on_parameters_file_names_and_contents(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("x = 1")
    first = fingerprint({"lr": 1}, [code])
    assert fingerprint({"lr": 2}, [code]) != first
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    assert fingerprint({"lr": 1}, [code]) == first
    (code / "a.py").write_text("x = 2")
    second = fingerprint({"lr": 1}, [code])
    assert second != first
    (code / "a.py").rename(code / "b.py")
    assert fingerprint({"lr": 1}, [code]) not in (first, second)


@given(st.text(max_size=900))
def test_an_error_is_one_short_line_that_keeps_both_ends(text: str) -> None:
    line = str(MidasError(f"params.yaml: {text}; rename it"))
    assert line.isprintable()
    assert len(line) <= LONGEST == 300
    assert line.startswith("params.yaml: ")
    assert line.endswith("; rename it")
    assert shorten(shorten(text)) == shorten(text)


def test_a_list_names_what_fits_and_at_least_one() -> None:
    assert listed([]) == ""
    assert listed(["cat", "dog"]) == "cat, dog"
    assert listed(map(str, range(1000)), room=12) == "0, 1, 2, 3, ..."
    assert listed(["x" * 50, "y"], room=9) == "xxx...xxx, ..."
