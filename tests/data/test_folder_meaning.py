"""What a folder means: splits or classes, links, thumbnails, and names that look the same."""

import unicodedata

import pytest
from test_folder_source import assert_refused, fill

from midas.data.config import DataConfig
from midas.data.image_folder import folder
from midas.data.prepare import prepare
from midas.io.errors import DataError


@pytest.fixture
def pets(tmp_path):
    for i, name in enumerate(("cat", "dog")):
        fill(tmp_path / "pets" / name, 6, side=12, first=10 * i)
    return tmp_path / "pets"


@pytest.mark.parametrize("others", [["train"], ["test"], ["train", "Val_set"]])
def test_a_class_called_like_a_split_is_asked_about(tmp_path, others):
    for name in ("bus", *others):
        fill(tmp_path / "x" / name, 4, side=8)
    message = assert_refused(tmp_path / "x", "is called like a split, beside bus/; rename or")
    assert "if all are classes, move all into train/" in message
    (tmp_path / "y").mkdir()
    (tmp_path / "x").rename(tmp_path / "y/train")
    assert folder(tmp_path / "y").classes == tuple(sorted(["bus", *others]))


@pytest.mark.parametrize("inner", [["train", "val"], ["cat", "dog"], ["test"]])
def test_classes_that_may_lie_one_level_deeper_are_asked_about(tmp_path, inner):
    for name in ("a", "b"):
        for below in inner:
            fill(tmp_path / "x" / name / below, 3, side=8)
    listed = ", ".join(f"{name}/" for name in inner)
    assert_refused(tmp_path / "x", f"a/, b/ all hold {listed}; if the former are the classes, move")
    (tmp_path / "y").mkdir()
    (tmp_path / "x").rename(tmp_path / "y/train")
    assert folder(tmp_path / "y").classes == ("a", "b")


def test_one_folder_inside_each_class_divides_nothing(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "x" / name / "images", 3, side=8)
    assert folder(tmp_path / "x").classes == ("a", "b")


def test_links_to_folders_are_followed_once_and_never_in_a_loop(pets):
    fill(pets.parent / "store/more", 3, side=12, first=50)
    (pets / "cat" / "linked").symlink_to(pets.parent / "store/more")
    (pets / "cat" / "again").symlink_to(pets.parent / "store/more")
    (pets / "cat" / "up").symlink_to(pets)
    (pets / "loop").symlink_to(pets.parent)
    (pets / "emu").symlink_to(fill(pets.parent / "store/emu", 3, side=12, first=70))
    source = folder(pets)
    assert source.labels.bincount().tolist() == [9, 6, 3]
    assert source.skipped.kinds() == {"folder reached twice": 3}
    assert [link.name for link in source.links] == ["emu", "again"]


def test_a_link_that_dvc_does_not_watch_is_refused_where_results_are_cached(pets):
    fill(pets.parent / "store", 3, side=12, first=50)
    (pets / "cat" / "linked").symlink_to(pets.parent / "store")
    config = DataConfig(source="folder", root=str(pets))
    with pytest.raises(DataError, match=r"cat/linked leads out of it, and DVC does not see"):
        prepare(config, pets.parent / "out", is_tracked=True)
    assert sum(prepare(config, pets.parent / "out").counts.values()) == 15
    (pets / "cat" / "linked").unlink()
    (pets / "dog" / "more").mkdir()
    (pets / "dog" / "linked").symlink_to(pets / "dog" / "more")  # within what DVC watches
    assert prepare(config, pets.parent / "out", is_tracked=True).counts


@pytest.mark.parametrize("name", ["@eaDir", "#recycle", "__MACOSX"])
def test_thumbnails_of_file_servers_are_passed_over(pets, name):
    fill(pets / "cat" / name / "000.png", 3)
    fill(pets / name / "photo.png", 2)
    source = folder(pets)
    assert len(source.labels) == 12
    assert source.skipped.kinds() == {"folder of a file server": 2}


def test_accents_that_are_encoded_in_two_ways_are_one_name(tmp_path):
    for split, form in (("train", "NFC"), ("val", "NFD")):
        for i, name in enumerate((unicodedata.normalize(form, "café"), "tea")):
            fill(tmp_path / "x" / split / name, 3, side=8, first=100 * i + 10 * len(split))
    assert folder(tmp_path / "x").classes == ("café", "tea")
    fill(tmp_path / "x/train" / unicodedata.normalize("NFD", "café"), 3)
    assert_refused(tmp_path / "x", r"two folders are called 'café', their accents encoded diff")


def test_an_error_about_an_empty_class_says_what_was_passed_over_there(pets):
    (pets / "phone").mkdir()
    for i in range(4):
        (pets / "phone" / f"{i}.HEIC").write_bytes(b"x")
    (pets / "cat" / "notes.txt").write_text("x")
    assert_refused(pets, "class 'phone' has 0; passed over: 4 .heic; each class needs 3")
