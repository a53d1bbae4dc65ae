"""A change of anything that a result follows from is never answered by an older checkpoint."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from midas.engine.checkpoint import LIBRARIES, Checkpoint
from pipeline import checkpoints, run_stage

ROOT = Path(__file__).parents[2]
CODE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all code that the stages name, and a file of data."""
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    for dep in stage_code("search") + stage_code("train"):
        for file in [ROOT / dep, *(ROOT / dep).rglob("*.py")]:
            if file.is_file():
                target = tmp_path / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
    (tmp_path / "train.safetensors").write_bytes(b"images")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stage_code(name: str) -> list[str]:
    return [dep for dep in CODE[name]["deps"] if dep.startswith(("midas/", "pipeline/"))]


def checkpoint(rate: float = 0.1, item: str = "0", name: str = "search") -> Checkpoint:
    return checkpoints.checkpoint(name, item, {"learning_rate": rate}, [Path("train.safetensors")])


def append(path: str) -> Callable[[Path], None]:
    def change(clone: Path) -> None:
        with (clone / path).open("ab") as file:
            file.write(b"# a change\n")

    return change


def rename(clone: Path) -> None:
    (clone / "midas/decode/decode.py").rename(clone / "midas/search/methods/aggregation.py")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(append("train.safetensors"), id="data"),
        pytest.param(append("midas/search/edge_pairs.py"), id="code"),
        pytest.param(append("midas/io/files.py"), id="code of a lower room"),
        pytest.param(append("pipeline/search.py"), id="the stage itself"),
        pytest.param(append("midas/search/methods/midas.py"), id="code in a sub-folder"),
        pytest.param(rename, id="code moved"),
    ],
)
def test_a_changed_file_starts_afresh(change: Callable[[Path], None], clone: Path) -> None:
    checkpoint().save({"epoch": 3})
    assert checkpoint().load() == {"epoch": 3}
    change(clone)
    assert checkpoint().load() is None


def test_a_changed_parameter_or_item_starts_afresh(clone: Path) -> None:
    checkpoint().save({"epoch": 3})
    assert checkpoint(rate=0.2).load() is None
    assert checkpoint(item="1").load() is None


@pytest.mark.parametrize("library", LIBRARIES)
def test_another_version_of_a_library_starts_afresh(
    library: str, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint().save({"epoch": 3})
    install(library, clone, monkeypatch)
    assert checkpoint().load() is None


def test_a_change_of_what_the_stage_does_not_use_goes_on(clone: Path) -> None:
    checkpoint().save({"epoch": 3})
    append("midas/nets/cells.py")(clone)
    assert checkpoint().load() == {"epoch": 3}


def test_a_checkpoint_of_another_fingerprint_and_what_a_killed_process_left_are_removed(
    clone: Path,
) -> None:
    old = checkpoint(rate=0.1)
    new = checkpoint(rate=0.2)
    old.save({"epoch": 3})
    (old.folder / ".x.pt.1.part").write_bytes(b"half")
    new.save({"epoch": 1})
    assert [path.name for path in new.folder.iterdir()] == [new.path.name]


def install(library: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python find another version of a library first, as pip would record it."""
    record = folder / "site" / f"{library}-99.0.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: 99.0\n")
    monkeypatch.syspath_prepend(str(folder / "site"))
    assert version(library) == "99.0"


def test_every_stage_that_computes_depends_on_the_pinned_libraries() -> None:
    assert [
        name for name, definition in CODE.items() if run_stage.PINS.name not in definition["deps"]
    ] == ["report"]
    pinned = {line.partition("==")[0] for line in (ROOT / run_stage.PINS).read_text().splitlines()}
    assert set(LIBRARIES) <= pinned


def test_libraries_that_are_not_the_pinned_ones_are_named(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = clone / "versions.txt"
    lines = [f"{name}=={version(name).partition('+')[0]}" for name in ("timm", "torch")]
    pins.write_text("\n".join(["# pins", *lines, "not-installed==1", ""]))
    assert run_stage.version_warning() == ""
    install("timm", clone, monkeypatch)
    assert run_stage.version_warning().startswith("warning: timm 99.0 (versions.txt: ")
