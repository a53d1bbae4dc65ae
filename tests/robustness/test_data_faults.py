"""Data sets with something wrong in them: what is found, what is said, and what never learns of the test images."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from midas.data.arrays import npz
from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.runs import files
from midas.runs.checkpoint import fingerprint
from midas.runs.errors import DataError
from pipeline.data import command

SHARED = os.environ.get("MIDAS_SHARED_DATA")


def paint(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, train/, val/ and test/, every picture another one."""
    for s, (split, n) in enumerate([("train", 6), ("val", 2), ("test", 3)]):
        for c, name in enumerate(("cat", "dog")):
            for i in range(n):
                paint(tmp_path / "photos" / split / name / f"{i}.png", 1000 * s + 100 * c + i)
    return tmp_path / "photos"


def report_of(root: Path) -> dict[str, object]:
    prepare(DataConfig(source="folder", root=str(root), image_size=8), root.parent / "out")
    value: dict[str, object] = files.read_json(root.parent / "out" / "report.json")
    return value


def test_a_clean_data_set_has_a_clean_report(photos: Path) -> None:
    report = report_of(photos)
    assert report["equal_images"] == dict.fromkeys(["train", "val", "test", "train-val", "train-test", "val-test"], 0)
    assert (report["contradictions"], report["named"], report["imbalance"]) == (0, [], 1.0)
    assert report["class_sizes"] == {
        split: {"cat": n, "dog": n} for split, n in (("train", 6), ("val", 2), ("test", 3))
    }


@pytest.mark.parametrize(
    ("source", "copy", "key"),
    [
        ("train/cat/0.png", "train/cat/again.png", "train"),
        ("train/cat/0.png", "val/cat/again.png", "train-val"),
        ("train/dog/1.png", "test/dog/again.png", "train-test"),
        ("val/dog/1.png", "test/dog/again.png", "val-test"),
    ],
)
def test_equal_images_are_counted_and_named(photos: Path, source: str, copy: str, key: str) -> None:
    shutil.copy(photos / source, photos / copy)
    report = report_of(photos)
    assert {name: n for name, n in report["equal_images"].items() if n} == {key: 1}
    (group,) = report["named"]
    assert [entry["image"] for entry in group] == [source, copy]
    assert report["contradictions"] == 0


def test_an_image_under_two_classes_is_a_contradiction_and_is_named_first(photos: Path) -> None:
    shutil.copy(photos / "train/cat/0.png", photos / "train/cat/again.png")
    shutil.copy(photos / "train/cat/5.png", photos / "train/dog/wrong.png")
    report = report_of(photos)
    assert report["contradictions"] == 1
    assert report["named"][0] == [
        {"image": "train/cat/5.png", "split": "train", "class": "cat"},
        {"image": "train/dog/wrong.png", "split": "train", "class": "dog"},
    ]


def test_the_stage_warns_in_a_line_for_each_fault(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(60):
        paint(photos / "train/cat" / f"more-{i}.png", 5000 + i)
    shutil.copy(photos / "train/cat/0.png", photos / "test/dog/wrong.png")
    shutil.copy(photos / "train/cat/1.png", photos / "train/cat/again.png")
    shutil.copy(photos / "train/cat/2.png", photos / "val/cat/again.png")
    monkeypatch.chdir(photos.parent)
    Path("params.yaml").write_text("data: {source: folder, root: photos, image_size: 8}\n")
    command()
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning: " in line]
    assert warnings == [
        "data: warning: 1 test images also stand in train or val, pixel for pixel: artifacts/data/report.json names them",
        "data: warning: 1 validation images also stand in train",
        "data: warning: 1 training images repeat another one",
        "data: warning: 1 images stand under more than one class",
        "data: warning: the largest class has 11.167 times the training images of the smallest",
    ]


def test_an_empty_class_folder_is_named(photos: Path) -> None:
    for split in ("train", "val", "test"):
        (photos / split / "emu").mkdir()
    with pytest.raises(DataError, match=r"too few images for train: class 'emu' has 0"):
        report_of(photos)


@pytest.mark.parametrize("classes", [["cat", "cat"], ["cat", " "], ["cat", "\ud800"]])
def test_class_names_that_are_equal_empty_or_no_text_are_refused(classes: list[str], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(12) % 2, classes=np.array(classes))
    with pytest.raises(DataError, match=r"each needs a name of its own|is empty or no valid text") as caught:
        prepare(DataConfig(source="npz", root=str(tmp_path / "a.npz")), tmp_path / "out")
    assert str(caught.value).isprintable()


def test_a_changed_file_behind_an_unchanged_name_size_and_time_changes_the_fingerprint(photos: Path) -> None:
    path = photos / "train/cat/0.bmp"
    paint(path, 7)
    before, kept = path.stat(), path.read_bytes()
    first = [prepare(DataConfig(source="folder", root=str(photos), image_size=8), photos.parent / "out").fingerprint]
    first.append(fingerprint({}, [photos]))
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    again = [prepare(DataConfig(source="folder", root=str(photos), image_size=8), photos.parent / "out").fingerprint]
    again.append(fingerprint({}, [photos]))
    assert all(a != b for a, b in zip(first, again, strict=True))


def test_other_test_images_change_no_byte_of_what_is_learned_from(photos: Path) -> None:
    """Nor mean and deviation; only the fingerprint, the counts and the report know of them."""
    out, found = photos.parent / "out", []
    for _ in range(2):
        report_of(photos)
        meta = json.loads((out / "meta.json").read_text())
        learned = {key: value for key, value in meta.items() if key not in ("fingerprint", "counts", "duplicates")}
        found.append((*[(out / f"{name}.safetensors").read_bytes() for name in ("train", "val", "test")], learned))
        paint(photos / "test/cat/0.png", 31)
        paint(photos / "test/dog/new.png", 32)
    assert found[0][:2] == found[1][:2]
    assert found[0][2] != found[1][2]
    assert found[0][3] == found[1][3]


STAGES = """
from pipeline import analyse, build, decode, export, search, train
search.command(0), decode.command(), analyse.command()
train.command("digits"), build.command("digits"), export._export("digits")
"""  # in one process, which imports torch once
TIMES = {"latency.json", "cost.json"}


def files_of(clone: Path) -> dict[str, bytes]:
    """What the stages wrote, without the times."""
    paths = [p for name in ("artifacts", "models") for p in (clone / name).rglob("*") if p.is_file()]
    kept = [p for p in paths if p.name not in TIMES and p.parts[-2] not in ("data", "cost")]
    return {p.relative_to(clone).as_posix(): p.read_bytes() for p in kept}


@pytest.mark.slow
def test_no_stage_before_evaluate_reads_the_test_images(tmp_path: Path) -> None:
    """All stages up to the export, with the test file and with garbage that nobody may open in its place: equal bytes."""
    sys.path.append(str(Path(__file__).parents[1] / "pipeline"))
    from clones import edit, make_clone, run

    clone = make_clone(tmp_path / "clone")
    edit(
        clone / "params.yaml",
        image_size="8",
        epochs="1",
        channels="4",
        cells="3",
        seeds="[0]",
        monitor_images="16",
        samples="64",
    )
    run(clone, "midas", "data")
    run(clone, sys.executable, "-c", STAGES)
    first = files_of(clone)
    assert len(first) > 20
    for name in ("search", "genotype", "analysis", "train"):
        shutil.rmtree(clone / "artifacts" / name)
    shutil.rmtree(clone / "models/digits")
    test = clone / "artifacts/data/test.safetensors"
    test.write_bytes(b"garbage")
    test.chmod(0)
    run(clone, sys.executable, "-c", STAGES)
    again = files_of(clone)
    assert again.keys() == first.keys()
    assert [name for name in first if first[name] != again[name]] == []
    evaluated = run(clone, "midas", "evaluate", "digits", check=False)
    assert evaluated.returncode == 1
    assert "test.safetensors" in evaluated.stderr


@pytest.mark.slow
@pytest.mark.skipif(not SHARED, reason="MIDAS_SHARED_DATA is not set")
def test_the_ten_test_images_of_cifar_100_that_stand_in_train_are_found(tmp_path: Path) -> None:
    assert SHARED
    subprocess.run([sys.executable, Path(SHARED) / "unpack.py", "cifar100", tmp_path], check=True, capture_output=True)
    pool = npz(tmp_path)
    assert len(pool.classes) == 100
    meta = prepare(DataConfig(source="npz", root=str(tmp_path)), tmp_path / "out")
    report = files.read_json(tmp_path / "out" / "report.json")
    assert meta.duplicates == 10
    assert report["equal_images"]["train-test"] + report["equal_images"]["val-test"] == 10
    print(report["equal_images"], report["contradictions"])
