"""WebDataset shards are read like a folder of the same images, and nothing is unpacked."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.data.prepared import DataMeta, load_split
from midas.io.errors import DataError


def png(seed: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8 + seed % 3, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_shards(
    root: Path, prefix: str = "mine-{:04}.tar", count: int = 3, first: int = 0
) -> Path:
    """Write shards of 8 images each, of two classes in turn."""
    for shard in range(count):
        members = {}
        for k in range(first + 8 * shard, first + 8 * shard + 8):
            members[f"{k:06}.png"] = png(k)
            members[f"{k:06}.cls"] = str(k % 2).encode()
            members[f"{k:06}.json"] = b"{}"
        write_shard(root / prefix.format(shard), members)
    return root


def pixels_in(out: Path) -> list[bytes]:
    splits = [load_split(out / f"{name}.safetensors") for name in ("train", "val", "test")]
    return sorted(image.numpy().tobytes() for split in splits for image in split.images)


def run(root: Path, **parameters: Any) -> DataMeta:
    config = DataConfig(source="webdataset", root=str(root), image_size=8, **parameters)
    return prepare(config, root.parent / "out")


def assert_refused(root: Path, message: str, **parameters: Any) -> None:
    with pytest.raises(DataError, match=message) as caught:
        run(root, **parameters)
    assert "\n" not in str(caught.value)
    assert not [*(root.parent / "out").rglob("*")]


def test_shards_give_the_same_tensors_as_a_folder_of_the_same_images(tmp_path: Path) -> None:
    write_shards(tmp_path / "x/shards")
    (tmp_path / "x/shards/classnames.txt").write_text("even\nodd\n")
    for k in range(24):
        path = tmp_path / "y/images" / ("even", "odd")[k % 2] / f"{k:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(k))
    shards = run(tmp_path / "x/shards")
    config = DataConfig(source="folder", root=str(tmp_path / "y/images"), image_size=8)
    folder = prepare(config, tmp_path / "y/out")
    assert (shards.classes, shards.counts) == (folder.classes, folder.counts)
    assert pixels_in(tmp_path / "x/out") == pixels_in(tmp_path / "y/out")
    splits = [load_split(tmp_path / f"x/out/{split}.safetensors") for split in ("train", "val")]
    assert set(torch.cat([split.labels for split in splits]).tolist()) == {0, 1}
    suffixes = {path.suffix for path in (tmp_path / "x/shards").iterdir()}
    assert suffixes == {".tar", ".txt"}, "nothing is unpacked"


@pytest.mark.parametrize("names", ["{}/{{}}.tar", "set-{}-{{:05}}.tar"])
def test_folders_or_files_may_name_the_splits(names: str, tmp_path: Path) -> None:
    write_shards(tmp_path / "x", names.format("train"), 2)
    write_shards(tmp_path / "x", names.format("validation"), 1, first=100)
    meta = run(tmp_path / "x")
    assert meta.counts["test"] == 8, "the validation shards are the test split, as in a folder"
    assert meta.counts["train"] + meta.counts["val"] == 16
    assert meta.classes == ("0", "1")


def test_the_name_of_a_split_within_a_word_does_not_count(tmp_path: Path) -> None:
    assert sum(run(write_shards(tmp_path / "x", "latest-interval-{:02}.tar")).counts.values()) == 24


def test_shards_that_name_two_splits_or_only_sometimes_a_split_are_refused(tmp_path: Path) -> None:
    assert_refused(
        write_shards(tmp_path / "x", "train-test-{}.tar", 1), "stands for several splits"
    )
    write_shards(tmp_path / "y", "train-{}.tar", 1)
    assert_refused(
        write_shards(tmp_path / "y", "more-{}.tar", 1), r"others, e\.g\. more-0\.tar, do not"
    )
    assert_refused(
        write_shards(tmp_path / "z", "val-{}.tar", 1), "has shards of val and none of train"
    )


def test_missing_shards_are_named(tmp_path: Path) -> None:
    root = write_shards(tmp_path / "x", count=5)
    for number in (1, 3):
        (root / f"mine-000{number}.tar").unlink()
    assert_refused(
        root, r"2 of 5 shards are missing: mine-0001\.tar, mine-0003\.tar; fetch them again"
    )
    (root / "mine-0002.tar").rename(root / "mine-9999999999999999.tar")
    assert_refused(
        root,
        r"9999999999999997 of 10000000000000000 shards are missing: mine-0000000000000001\.tar",
    )


def test_shards_may_be_counted_from_one_and_a_single_shard_may_have_any_number(
    tmp_path: Path,
) -> None:
    root = write_shards(tmp_path / "x", count=3)
    (root / "mine-0000.tar").unlink()
    assert sum(run(root).counts.values()) == 16
    (root / "mine-0001.tar").unlink()
    assert sum(run(root).counts.values()) == 8


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere", "there is no such folder; put shards")


def test_archives_that_are_not_shards_are_named_where_there_is_no_shard(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/0.tar.gz").write_bytes(b"x")
    assert_refused(tmp_path / "x", r"no shard in it \(passed over: 1 \.gz\); add \*\.tar")


@pytest.mark.parametrize(
    "text",
    [b"\xef\xbb\xbfcat\r\ndog\r\n", "cat\ndog\n\n".encode("utf-16"), b"cat\rdog"],
    ids=["byte order mark", "UTF-16", "old Mac"],
)
def test_class_names_are_read_as_any_editor_writes_them(text: bytes, tmp_path: Path) -> None:
    root = write_shards(tmp_path / "x")
    (root / "classnames.txt").write_bytes(text)
    assert run(root).classes == ("cat", "dog")


def test_a_class_name_keeps_its_blanks_and_signs(tmp_path: Path) -> None:
    root = write_shards(tmp_path / "x")
    (root / "classnames.txt").write_text(" big cat\x85\ndog\u2028 \n", encoding="utf-8")
    assert run(root).classes == (" big cat\x85", "dog\u2028 ")


def test_a_linked_folder_of_shards_is_followed(tmp_path: Path) -> None:
    root = write_shards(tmp_path / "x", "train/{}.tar", 2)
    write_shards(tmp_path / "far/val", "{}.tar", 1, first=100)
    (root / "val").symlink_to(tmp_path / "far/val")
    (root / "val/loop").symlink_to(root)
    assert run(root).counts["test"] == 8


@pytest.mark.parametrize("name", ["dev", "Test_set", "EVAL"])
def test_splits_of_shards_have_the_names_that_people_use(name: str, tmp_path: Path) -> None:
    write_shards(tmp_path / "x", "Training-{:03}.tar", 2)
    write_shards(tmp_path / "x", f"{name}-{{:03}}.tar", 1, first=100)
    assert run(tmp_path / "x").counts["test"] == 8


def test_two_images_of_one_label_are_refused(tmp_path: Path) -> None:
    root = write_shards(tmp_path / "x")
    write_shard(root / "mine-0003.tar", {"a.png": png(1), "a.jpg": png(2), "a.cls": b"1"})
    assert_refused(root, "holds two images called a")


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    root = write_shards(tmp_path / "x")
    path = root / "mine-0001.tar"
    path.write_bytes(path.read_bytes()[:2000])
    assert_refused(root, r"mine-0001\.tar: is not a whole tar file")


def test_an_unreadable_image_is_named_by_shard_and_member(tmp_path: Path) -> None:
    root = write_shards(tmp_path / "x")
    write_shard(root / "mine-0003.tar", {"bad.png": b"no image", "bad.cls": b"1"})
    assert_refused(root, r"1 of 25 images cannot be read: mine-0003\.tar/bad\.png \(not an image\)")
    assert sum(run(root, max_unreadable=1).counts.values()) == 24


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"x"}, r"1 of 1 images have no label, e\.g\. a\.png"),
        ({"a.png": b"x", "a.cls": b"cat"}, r"a\.cls holds b'cat'; it must be the index of a class"),
        (
            {"a.png": b"x", "a.cls": b"-1"},
            r"a\.png has the label -1, outside 0\.\.\.1 \(1 such labels\)",
        ),
        (
            {"a.png": b"x", "a.cls": b"99999"},
            r"its largest label is 99999, and it has 25 images; name the classes, or",
        ),
    ],
)
def test_a_wrong_label_is_named(members: dict[str, bytes], message: str, tmp_path: Path) -> None:
    root = write_shards(tmp_path / "x")
    write_shard(root / "mine-0003.tar", members)
    assert_refused(root, message)


def test_links_and_paths_out_of_the_folder_are_neither_followed_nor_unpacked(
    tmp_path: Path,
) -> None:
    root = write_shards(tmp_path / "x")
    with tarfile.open(root / "mine-0003.tar", "w") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name, data in (("../../climbed.png", png(1)), ("../../climbed.cls", b"1")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert sum(run(root).counts.values()) == 25
    assert not list(tmp_path.rglob("climbed*"))
