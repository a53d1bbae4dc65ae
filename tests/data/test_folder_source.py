"""Folders of image files: mixed modes and sizes, splits, and everything that can be wrong."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from midas.data.config import DataConfig
from midas.data.image_folder import folder
from midas.data.prepare import prepare
from midas.data.prepared import load_split
from midas.io.errors import DataError

LARGE = """
import resource, sys
from pathlib import Path
import torch
from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.data.prepared import load_split
root = Path(sys.argv[1])
def status(key):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024
limit = status("VmData") + 256 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
meta = prepare(DataConfig(source="folder", root=str(root / "x"), image_size=1024), root / "out")
resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
before, train = status("RssAnon"), load_split(root / "out/train.safetensors")
for index in torch.randperm(len(train)).split(8):
    assert train.images[index].shape[1:] == (3, 1024, 1024)
# the allocator keeps some of the batches, which have 24 MiB each
assert status("RssAnon") - before < train.images.numel() / 2
print(*meta.counts.values())
"""
MODES = ["RGB", "L", "P", "RGBA", "CMYK", "16"]


def make_image(mode: str, width: int, height: int, seed: int) -> Image.Image:
    grey = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    if mode == "16":
        return Image.fromarray(grey.astype(np.uint16) * 257)
    return Image.fromarray(grey).convert("RGB").convert(mode)


def fill(path, n, side=None, first=0):
    """Write n images of all modes; sizes differ unless `side` is set."""
    path.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + n):
        mode = MODES[i % len(MODES)]
        width, height = (side, side) if side else (20 + i % 13, 20 + i % 7)
        suffix = ".jpg" if mode in ("RGB", "L", "CMYK") else ".png"
        make_image(mode, width, height, i).save(path / f"{i:03d}{suffix}")
    return path


def test_files_without_the_suffix_of_an_image_are_counted(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / name, 4, 8)
        for other in ("one.HEIC", "two.heic", "notes.txt", ".hidden", "LICENSE"):
            (tmp_path / name / other).write_bytes(b"x")
    make_image("RGB", 8, 8, 9).save(tmp_path / "a/photo.jfif", "JPEG")
    source = folder(tmp_path)
    kinds = {".heic": 4, ".txt": 2, "hidden": 2, "without a suffix": 2}
    assert source.skipped.kinds() == kinds
    assert len(source.labels) == 9
    prepare(DataConfig(source="folder", root=str(tmp_path)), tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["passed_over"] == kinds


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "pets"
    for i, name in enumerate(("cat", "dog")):
        fill(root / name, 6, side=12, first=10 * i)
    return root


def run(root, **parameters):
    return prepare(DataConfig(source="folder", root=str(root), **parameters), root.parent / "out")


def test_two_hundred_images_of_mixed_modes_and_sizes(tmp_path):
    for i, (name, n) in enumerate([("a", 100), ("b", 60), ("c", 40)]):
        fill(tmp_path / "mixed" / name, n, first=1000 * i)
    meta = run(tmp_path / "mixed", image_size=16)
    assert meta.counts == {"train": 144, "val": 16, "test": 40}
    assert meta.classes == ("a", "b", "c")
    test = load_split(tmp_path / "out" / "test.safetensors")
    assert test.labels.bincount().tolist() == [20, 12, 8]


def test_images_of_one_size_keep_it_by_default(pets):
    assert run(pets).size == 12


def test_the_same_folder_gives_the_same_bytes(pets):
    contents = []
    for _ in range(2):
        run(pets)
        contents.append({path.name: path.read_bytes() for path in (pets.parent / "out").iterdir()})
    assert contents[0] == contents[1]
    splits = {"train.safetensors", "val.safetensors", "test.safetensors"}
    assert set(contents[0]) == {*splits, "meta.json", "report.json"}


def test_val_is_the_test_split_if_there_is_no_test_folder(tmp_path):
    for split, n in [("train", 8), ("val", 3)]:
        for i, name in enumerate("ab"):
            fill(tmp_path / "x" / split / name, n, side=8, first=100 * i + 10 * n)
    assert run(tmp_path / "x").counts == {"train": 14, "val": 2, "test": 6}


def test_three_named_splits_are_used(tmp_path):
    for split, n in [("train", 5), ("val", 2), ("test", 3)]:
        for i, name in enumerate("ab"):
            fill(tmp_path / "x" / split / name, n, side=8, first=100 * i + 10 * n)
    assert run(tmp_path / "x").counts == {"train": 10, "val": 4, "test": 6}


def test_hidden_and_other_files_are_skipped_and_links_are_followed(pets):
    (pets / "cat" / ".hidden.png").write_text("no image")
    (pets / "cat" / "notes.txt").write_text("no image")
    (pets / ".cache").mkdir()
    shutil.move(pets / "dog" / "011.png", pets.parent / "elsewhere.png")
    (pets / "dog" / "011.png").symlink_to(pets.parent / "elsewhere.png")
    assert sum(run(pets).counts.values()) == 12


def test_a_test_image_that_is_also_in_train_is_counted(tmp_path):
    for split in ("train", "val"):
        for i, name in enumerate("ab"):
            first = 100 * i + (50 if split == "val" else 0)
            fill(tmp_path / "x" / split / name, 3, side=8, first=first)
    shutil.copy(tmp_path / "x/train/a/001.jpg", tmp_path / "x/val/a/copy.jpg")
    assert run(tmp_path / "x").duplicates == 1


def assert_refused(root, message, **parameters):
    with pytest.raises(DataError, match=message) as caught:
        run(root, **parameters)
    assert "\n" not in str(caught.value)
    assert not [*(root.parent / "out").rglob("*")], "nothing is written"
    return str(caught.value)


def test_a_missing_folder_is_refused(tmp_path):
    assert_refused(tmp_path / "nowhere", r"data\.root: .*nowhere: there is no such folder")


def test_a_folder_without_classes_or_images_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    assert_refused(tmp_path / "x", "has no sub-folders")
    (tmp_path / "x" / "cat").mkdir()
    assert_refused(tmp_path / "x", "has no images")


def test_val_without_train_is_refused(tmp_path):
    fill(tmp_path / "x" / "val" / "a", 2)
    assert_refused(tmp_path / "x", "has val/ and no train/")


@pytest.mark.parametrize(
    "name", ["val", "valid", "Validation", "dev", "EVAL", "val_set", "validation-data"]
)
def test_the_validation_folder_may_have_any_of_its_usual_names(tmp_path, name):
    for split in ("Training_Set", name, "testing"):
        fill(tmp_path / "x" / split / "a", 2)
        fill(tmp_path / "x" / split / "b", 2)
    assert sorted(folder(tmp_path / "x").splits) == ["test", "train", "val"]


def test_two_folders_for_one_split_are_refused(tmp_path):
    for split in ("train", "val", "valid"):
        fill(tmp_path / "x" / split / "a", 2)
    assert_refused(tmp_path / "x", "train/, val/, valid/ name a split twice")


def test_broken_images_are_counted_and_named(pets):
    cut = pets / "cat" / "000.jpg"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (pets / "dog" / "zero.png").touch()
    message = assert_refused(pets, "2 of 13 images cannot be read", image_size=8)
    assert "cat/000.jpg" in message
    assert "dog/zero.png (is empty)" in message


def test_a_few_broken_images_are_left_out_if_the_parameters_allow_it(pets):
    whole = run(pets, image_size=8)
    (pets / "dog" / "zero.png").touch()
    cut = pets / "cat" / "zzz.jpg"
    cut.write_bytes((pets / "cat" / "000.jpg").read_bytes()[:200])
    meta = run(pets, image_size=8, max_unreadable=2)
    assert meta == whole, "splits and statistics are those of the folder without the broken images"
    report = json.loads((pets.parent / "out/report.json").read_text())
    assert {entry["image"]: entry["fault"] for entry in report["unreadable"]}.keys() == {
        "cat/zzz.jpg",
        "dog/zero.png",
    }
    shutil.rmtree(pets.parent / "out")
    assert "raise data.max_unreadable (1)" in assert_refused(
        pets, "2 of 14 images cannot be read", image_size=8, max_unreadable=1
    )


def test_a_broken_image_among_images_of_one_size_needs_no_image_size(tmp_path):
    for name in "ab":
        fill(tmp_path / "x" / name, 4, side=8)
    (tmp_path / "x" / "a" / "000.png").touch()
    assert run(tmp_path / "x", max_unreadable=1).size == 8


def test_a_class_whose_images_in_a_split_are_all_broken_is_named(tmp_path):
    for split in ("train", "val"):
        for name in "ab":
            fill(tmp_path / "x" / split / name, 4, side=8)
    for path in (tmp_path / "x/val/b").iterdir():
        path.write_bytes(b"")
    assert_refused(tmp_path / "x", "too few images for test: class 'b' has 0", max_unreadable=4)


def test_an_error_names_as_many_broken_images_as_fit_into_a_line(pets):
    for i in range(7):
        (pets / "dog" / f"bad{i}.png").touch()
    message = assert_refused(pets, "7 of 19 images")
    assert 3 <= message.count("bad") < 7
    assert ", ...; repair" in message


def test_an_image_of_too_many_pixels_is_named_with_the_parameter_that_allows_it(pets):
    # Pillow warns above the limit and raises above twice the limit
    make_image("L", 40, 40, 0).save(pets / "cat" / "large.png")
    make_image("L", 50, 50, 0).save(pets / "cat" / "larger.png")
    message = assert_refused(pets, "2 of 14 images cannot", image_size=8, max_pixels=1000)
    assert "cat/large.png (more than data.max_pixels, 1,000)" in message
    assert "cat/larger.png (more than data.max_pixels, 1,000)" in message
    assert sum(run(pets, image_size=8, max_pixels=2500).counts.values()) == 14
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


def test_a_class_of_one_image_is_named_with_its_count(pets):
    fill(pets / "emu", 1, side=12)
    assert_refused(
        pets, r"class 'emu' has 1; each class needs 3 \(one for each of train, val, test\)"
    )


def test_a_folder_of_one_class_is_refused(tmp_path):
    fill(tmp_path / "x" / "cat", 4)
    assert_refused(tmp_path / "x", "needs at least 2", image_size=8)


def test_splits_with_different_classes_are_refused(tmp_path):
    for split, names in [("train", "ab"), ("val", "abc")]:
        for name in names:
            fill(tmp_path / "x" / split / name, 4, side=8)
    assert_refused(
        tmp_path / "x", r"val: class 'c' is missing in .*train; both need the same classes"
    )


def test_the_error_for_different_sizes_names_the_parameter(pets):
    make_image("RGB", 12, 13, 0).save(pets / "dog" / "odd.png")
    assert_refused(pets, r"data\.image_size: must be set.*dog/odd\.png 12x13")


def test_images_too_large_for_the_disk_are_refused_before_decoding(pets, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5000))
    assert_refused(
        pets,
        r"12 images of 64x64 take .* left; make data\.image_size smaller or set data\.max_images",
        image_size=64,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_images_may_exceed_the_memory(tmp_path):
    """Prepare 600 MiB of pixels, 432 of them train, in a process limited to 256 MiB of data.

    Reading the training split back takes less than half of its size.
    """
    for label in "ab":
        fill(tmp_path / "x" / label, 100, side=8)
    run = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert [int(word) for word in run.stdout.split()] == [144, 16, 40]
