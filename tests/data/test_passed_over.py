"""Nothing is dropped silently: every source counts what it does not use, by kind."""

import json
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_shards_source import png, write_shard

from midas.data.config import DataConfig
from midas.data.listing import Skipped, clean_name, kind_of, split_of, splits_in
from midas.data.prepare import prepare
from midas.io.errors import LONGEST, DataError
from pipeline import data as stage

IMAGES = 12  # usable ones in every source
FILES = {  # files that no source uses, and their kind
    "photo.HEIC": ".heic",
    "notes.txt": ".txt",
    "IMG_0001": "without a suffix",
    "scan.0001": "without a suffix",
    ".DS_Store": "hidden",
    "._000.png": "hidden",
}
FOLDERS = {"@eaDir": "folder of a file server", ".thumbnails": "hidden folder"}
Kinds = Counter[str]


def add_files(folder: Path, members: list[str]) -> Kinds:
    """Put unusable members into a folder; return their number by kind."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds: Kinds = Counter()
    for number, name in enumerate(members):
        if name == "loop":
            (folder / f"loop{number}").symlink_to(folder.parent)
            kinds["folder reached twice"] += 1
        elif name in FOLDERS:
            if not (folder / name).exists():
                kinds[FOLDERS[name]] += 1
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "000.png").write_bytes(png(number))
        else:
            (folder / f"{name[0] if name[0] == '.' else ''}{number}{name}").write_bytes(b"x")
            kinds[FILES[name]] += 1
    return kinds


def folder_source(root: Path, members: list[str]) -> tuple[str, Kinds]:
    for k in range(IMAGES):
        path = root / "ab"[k % 2] / f"{k:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(k))
    return "folder", add_files(root / "a", members)


def npz_source(root: Path, members: list[str]) -> tuple[str, Kinds]:
    root.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 8, 8), dtype=np.uint8)
    labels = np.arange(IMAGES) % 2
    np.savez(root / "my_train.npz", images=pixels[:8], labels=labels[:8], other=labels)
    np.savez(root / "my_test.npz", images=pixels[8:], labels=labels[8:])
    return "npz", add_files(root, members) + Counter({"arrays of other names": 1})


def shard_source(root: Path, members: list[str]) -> tuple[str, Kinds]:
    content = {f"{k:03}.png": png(k) for k in range(IMAGES)}
    content |= {f"{k:03}.cls": str(k % 2).encode() for k in range(IMAGES)}
    kinds: Kinds = Counter({"labels without an image": 1})
    content["spare.cls"] = b"0"
    for number, name in enumerate(name for name in members if name in FILES):
        content[f"{'.' if name[0] == '.' else ''}{number}{name}"] = b"x"
        kinds[f"{FILES[name]} in shards"] += 1
    write_shard(root / "0.tar", content)
    return "webdataset", kinds + add_files(root, members)


def huggingface_source(root: Path, members: list[str]) -> tuple[str, Kinds]:
    datasets = pytest.importorskip("datasets", reason="the extra huggingface")
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}

    def table(count: int, label: int | None = None) -> object:
        images = [{"bytes": png(k), "path": None} for k in range(count)]
        labels = [k % 2 if label is None else label for k in range(count)]
        rows = {"image": images, "label": labels}
        return datasets.Dataset.from_dict(rows, features=datasets.Features(features))

    others = len(members) + 1
    splits = {"train": table(IMAGES), "test": table(3, -1), "unsupervised": table(others)}
    datasets.DatasetDict(splits).save_to_disk(root)
    kinds = {"rows of test, all labels -1": 3, "rows of the split unsupervised": others}
    return "huggingface", Counter(kinds)


SOURCES = [folder_source, npz_source, shard_source, huggingface_source]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=st.lists(st.sampled_from([*FILES, *FOLDERS, "loop"]), max_size=8))
@pytest.mark.parametrize("make", SOURCES)
def test_every_source_counts_what_it_passes_over_and_uses_all_else(
    make: Callable[[Path, list[str]], tuple[str, Kinds]],
    members: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    with TemporaryDirectory() as folder:
        source, kinds = make(Path(folder, "x"), members)
        config = DataConfig(source=source, root=f"{folder}/x", image_size=8)
        meta = prepare(config, Path(folder, "out"))
        assert sum(meta.counts.values()) == IMAGES
        report = json.loads(Path(folder, "out/report.json").read_text())
        assert report["passed_over"] == dict(kinds)
        capfd.readouterr()
        stage._warn(0, report)
        lines = capfd.readouterr().err.splitlines()
        passed = [line for line in lines if "passed over" in line]
        assert len(passed) == bool(kinds)
        for kind, number in kinds.most_common(5):
            assert f"{number} {kind}"[:30] in passed[0] or "of other kinds" in passed[0]


@pytest.mark.parametrize("make", SOURCES[:3])
def test_an_error_is_one_short_line_whatever_the_names(
    make: Callable[[Path, list[str]], tuple[str, Kinds]], tmp_path: Path
) -> None:
    """Names of 200 characters with control sequences in them, and thousands of kinds."""
    wild = "\x1b[31m" + "n" * 180 + "\n"
    source, _ = make(tmp_path / "x", [])
    root = tmp_path / "x"
    (root / "a").mkdir(exist_ok=True)
    for number in range(40):
        (root / "a" / f"{wild}{number}.png").write_bytes(b"x")
        (root / "a" / f"{number}.k{number}").write_bytes(b"x")
    write_shard(root / f"{wild}.tar", {f"{wild}.png": b"x", f"{wild}.cls": b"7"})
    write_shard(root / wild / "test.tar", {f"{wild}.png": b"x"})
    for name in ("train", "test"):
        np.savez(root / f"{name}{wild}.npz", images=np.zeros((3, 2, 2), np.uint8), labels=[0, 1])
    with pytest.raises(DataError) as caught:
        prepare(DataConfig(source=source, root=str(root)), tmp_path / "out")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= LONGEST == 300


def test_unreadable_images_that_are_left_out_are_counted_like_other_things(tmp_path: Path) -> None:
    folder_source(tmp_path / "x", [])
    for number in range(2):
        (tmp_path / f"x/b/bad{number}.png").write_bytes(b"x")
    config = DataConfig(source="folder", root=str(tmp_path / "x"), image_size=8, max_unreadable=2)
    assert sum(prepare(config, tmp_path / "out").counts.values()) == IMAGES
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["passed_over"] == {"unreadable images": 2}
    for path in (tmp_path / "x/b").iterdir():
        path.write_bytes(b"x")
    config = config.model_copy(update={"max_unreadable": 99})
    with pytest.raises(DataError, match="class 'b' has 0; passed over: 8 unreadable images"):
        prepare(config, tmp_path / "out")


def test_the_most_frequent_kinds_are_named_and_the_others_counted() -> None:
    skipped = Skipped()
    for number in range(1, 9):
        skipped.add(f".k{number}", "cat" if number % 2 else "dog", number)
    assert skipped.text() == "8 .k8, 7 .k7, 6 .k6, 5 .k5, 4 .k4, 6 of other kinds"
    assert skipped.text("dog") == "8 .k8, 6 .k6, 4 .k4, 2 .k2"
    assert skipped.text("emu") == ""
    assert skipped.kinds() == {f".k{number}": number for number in range(1, 9)}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training_set", "train"),
        ("trainset", "train"),
        ("VAL", "val"),
        ("valid images", "val"),
        ("validation", "val"),
        ("dev-set", "val"),
        ("eval", "val"),
        ("Test", "test"),
        ("testing-data", "test"),
        ("trainer", None),
        ("valve", None),
        ("contest", None),
        ("set", None),
    ],
)
def test_the_names_that_people_give_to_splits_are_known(name: str, split: str | None) -> None:
    assert split_of(name) == split
    word = name.split()[0]
    assert splits_in(f"mine-{word}-0001.tar") == ({split} if split else set())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.b.PNG", ".png"),
        (".x.png", "hidden"),
        ("a", "without a suffix"),
        ("a.7", "without a suffix"),
        ("a.7z", ".7z"),
        ("a." + "x" * 9, "without a suffix"),
    ],
)
def test_a_file_that_is_not_used_has_a_kind(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@given(st.text().filter(lambda name: not name.startswith("\ufeff")))
def test_a_name_is_the_same_whatever_its_bytes(name: str) -> None:
    clean = clean_name(name)
    assert clean_name(unicodedata.normalize("NFD", name)) == clean == clean_name(clean)
    if name.isprintable():
        assert clean_name(name.encode()) == clean == clean_name(b"\xef\xbb\xbf" + name.encode())
