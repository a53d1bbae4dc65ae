"""Data sets with errors: what the report says, and that no stage but evaluate sees test images."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from midas.data.arrays import npz
from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.data.prepared import SPLITS, DataMeta
from midas.engine.checkpoint import fingerprint
from midas.io import files
from midas.io.errors import DataError
from pipeline.data import command

SHARED = os.environ.get("MIDAS_SHARED_DATA")


def paint(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes in train/, val/ and test/; all images differ."""
    for s, (split, n) in enumerate([("train", 6), ("val", 2), ("test", 3)]):
        for c, name in enumerate(("cat", "dog")):
            for i in range(n):
                paint(tmp_path / "photos" / split / name / f"{i}.png", 1000 * s + 100 * c + i)
    return tmp_path / "photos"


def prepare_photos(root: Path) -> DataMeta:
    config = DataConfig(source="folder", root=str(root), image_size=8)
    return prepare(config, root.parent / "out")


def report_of(root: Path) -> dict[str, Any]:
    prepare_photos(root)
    report: dict[str, Any] = files.read_json(root.parent / "out" / "report.json")
    return report


def test_a_clean_data_set_has_a_clean_report(photos: Path) -> None:
    report = report_of(photos)
    assert report["equal_images"] == dict.fromkeys(
        ["train", "val", "test", "train-val", "train-test", "val-test"], 0
    )
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


def test_the_stage_warns_of_each_problem_in_one_line(
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
        "data: warning: 1 test images equal one in train or val:"
        " artifacts/data/report.json names them",
        "data: warning: 1 validation images also stand in train",
        "data: warning: 1 training images repeat another one",
        "data: warning: 1 images stand under more than one class",
        "data: warning: the largest class has 11.167 times the training images of the smallest;"
        " see class_weights, balanced_batches and select_by of a target",
    ]


def test_an_empty_class_folder_is_named(photos: Path) -> None:
    for split in ("train", "val", "test"):
        (photos / split / "emu").mkdir()
    with pytest.raises(DataError, match=r"too few images for train: class 'emu' has 0"):
        report_of(photos)


@pytest.mark.parametrize("classes", [["cat", "cat"], ["cat", " "], ["cat", "\ud800"]])
def test_class_names_that_are_equal_empty_or_not_text_are_refused(
    classes: list[str], tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(12) % 2, classes=np.array(classes))
    message = r"give each its own name|is empty or no valid text"
    with pytest.raises(DataError, match=message) as caught:
        prepare(DataConfig(source="npz", root=str(tmp_path / "a.npz")), tmp_path / "out")
    assert str(caught.value).isprintable()


def test_a_changed_file_of_the_same_name_size_and_time_changes_the_fingerprint(
    photos: Path,
) -> None:
    path = photos / "train/cat/0.bmp"
    paint(path, 7)
    before = path.stat()
    content = path.read_bytes()
    first = [prepare_photos(photos).fingerprint, fingerprint({}, [photos])]
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    second = [prepare_photos(photos).fingerprint, fingerprint({}, [photos])]
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_test_images_change_no_byte_of_the_training_and_validation_data(photos: Path) -> None:
    """In meta.json, only the fingerprint, the counts and the duplicates depend on them."""

    def contents() -> dict[str, Any]:
        prepare_photos(photos)
        out = photos.parent / "out"
        splits = {name: (out / f"{name}.safetensors").read_bytes() for name in SPLITS}
        meta = json.loads((out / "meta.json").read_text())
        for key in ("fingerprint", "counts", "duplicates"):
            del meta[key]
        return {**splits, "meta": meta}

    before = contents()
    paint(photos / "test/cat/0.png", 31)
    paint(photos / "test/dog/new.png", 32)
    after = contents()
    assert [name for name in before if before[name] != after[name]] == ["test"]


STAGES = """
from pipeline import analyse, build, decode, export, search, select, train
search.command(0), decode.command(0), select.command(), analyse.command()
train.command("digits"), build.command("digits"), export.command("digits")
"""  # in one process, which imports torch once
TIMINGS = {"latency.json", "cost.json"}


def files_of(clone: Path) -> dict[str, bytes]:
    """Read what the stages wrote, without the timings."""
    paths = [
        p for name in ("artifacts", "models") for p in (clone / name).rglob("*") if p.is_file()
    ]
    kept = [p for p in paths if p.name not in TIMINGS and p.parts[-2] not in ("data", "cost")]
    return {p.relative_to(clone).as_posix(): p.read_bytes() for p in kept}


@pytest.mark.slow
def test_no_stage_before_evaluate_reads_the_test_images(tmp_path: Path) -> None:
    """The stages up to export write the same bytes if the test file is unreadable garbage."""
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
    for name in ("search", "decode", "genotype", "analysis", "train"):
        shutil.rmtree(clone / "artifacts" / name)
    shutil.rmtree(clone / "models/digits")
    test = clone / "artifacts/data/test.safetensors"
    test.write_bytes(b"garbage")
    test.chmod(0)
    run(clone, sys.executable, "-c", STAGES)
    second = files_of(clone)
    assert second.keys() == first.keys()
    assert [name for name in first if first[name] != second[name]] == []
    evaluated = run(clone, "midas", "evaluate", "digits", check=False)
    assert evaluated.returncode == 1
    assert "test.safetensors" in evaluated.stderr


@pytest.mark.slow
@pytest.mark.skipif(not SHARED, reason="MIDAS_SHARED_DATA is not set")
def test_the_ten_test_images_of_cifar_100_that_are_also_in_train_are_found(tmp_path: Path) -> None:
    assert SHARED
    subprocess.run(
        [sys.executable, Path(SHARED) / "unpack.py", "cifar100", tmp_path],
        check=True,
        capture_output=True,
    )
    source = npz(tmp_path)
    assert len(source.classes) == 100
    meta = prepare(DataConfig(source="npz", root=str(tmp_path)), tmp_path / "out")
    report = files.read_json(tmp_path / "out" / "report.json")
    assert meta.duplicates == 10
    assert report["equal_images"]["train-test"] + report["equal_images"]["val-test"] == 10
    print(report["equal_images"], report["contradictions"])
