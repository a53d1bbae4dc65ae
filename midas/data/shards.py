"""Read a folder of WebDataset shards: tar files in which an image and its label share a name.

One pass over the headers finds the members, which are read in place: nothing is unpacked.
"""

import codecs
import io
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from itertools import count, islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from midas.data.image_source import ImageSource
from midas.data.listing import Skipped, Tree, kind_of, splits_in
from midas.data.pictures import SUFFIXES, open_image
from midas.io import files
from midas.io.errors import DataError, listed, reason, shorten

CLASS_NAMES = "classnames.txt"
_LABEL_BYTES = 20  # the longest label that is read
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)\.tar")


class Member(NamedTuple):
    """An image in a shard; `start` and `size` are in bytes."""

    shard: Path
    name: str
    start: int
    size: int
    label: int


def shards(root: Path) -> ImageSource:
    """List the images of a folder's shards.

    ``train/00.tar`` or ``mine-train-0007.tar`` holds ``000123.jpg`` beside ``000123.cls``, its
    class as a number. The split is the one that a word of the path names; if no shard names a
    split, all are `train`. classnames.txt holds the class names, one a line. Other files and
    members are counted.
    """
    where = f"data.root: {root}"
    if not root.is_dir():
        raise DataError(f"{where}: there is no such folder; put shards, *.tar, there")
    tree = Tree(root)
    members = {
        split: [member for shard in paths for member in _read_members(shard, tree.skipped)]
        for split, paths in _find_splits(where, tree).items()
    }

    def name_row(split: str, row: int) -> str:
        member = members[split][row]
        return f"{member.shard.relative_to(root).as_posix()}/{member.name}"

    return ImageSource.from_splits(
        where,
        _read_classes(root / CLASS_NAMES),
        {split: [member.label for member in row] for split, row in members.items()},
        lambda split, row: _open(members[split][row]),
        name_row,
        tree,
    )


def _open(member: Member) -> Image.Image:
    with member.shard.open("rb") as file:
        file.seek(member.start)
        return open_image(io.BytesIO(file.read(member.size)))


def _find_splits(where: str, tree: Tree) -> dict[str, list[Path]]:
    """List the shards of each split, sorted; raise DataError if a shard or a split is missing."""
    names: dict[str, Path] = {}
    for path in tree.files(tree.root):
        name = path.relative_to(tree.root).as_posix()
        if path.suffix == ".tar" and path.is_file():
            names[name] = path
        elif name != CLASS_NAMES:
            tree.skipped.add(kind_of(path.name))
    if not names:
        others = f" (passed over: {tree.skipped.text()})" if tree.skipped else ""
        raise DataError(f"{where}: there is no shard in it{others}; add *.tar files")
    _check_numbers(where, names)
    splits: dict[str, list[Path]] = defaultdict(list)
    for name, path in names.items():
        words = splits_in(name)
        if len(words) > 1:
            problem = f"{shorten(name)} stands for several splits ({', '.join(sorted(words))})"
            raise DataError(f"{where}: {problem}; rename it")
        splits["".join(words) or "unnamed"].append(path)
    unnamed = splits.pop("unnamed", [])
    if not splits:
        return {"train": unnamed}
    if unnamed:
        problem = f"some shards name a split and others, e.g. {unnamed[0].name}, do not"
        raise DataError(f"{where}: {problem}; rename them")
    if "train" not in splits:
        raise DataError(f"{where}: has shards of {', '.join(splits)} and none of train; add some")
    return splits


def _check_numbers(where: str, names: Iterable[str]) -> None:
    """Raise DataError if a series of shards, e.g. train-0000.tar, train-0001.tar, has a gap."""
    series: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            series[match[1], match[3]][int(match[2])] = match[2]
    for (before, after), numbers in series.items():
        # some series start at 1, and a single number is just a name
        first = min(1, *numbers) if len(numbers) > 1 else min(numbers)
        total = max(numbers) - first + 1
        if missing := total - len(numbers):
            width = len(numbers[max(numbers)])
            absent = (number for number in count(first) if number not in numbers)
            examples = islice(absent, min(4, missing))
            names = listed(f"{before}{number:0{width}}{after}.tar" for number in examples)
            problem = f"{missing} of {total} shards are missing: {names}"
            raise DataError(f"{where}: {problem}; fetch them again")


def _read_members(shard: Path, skipped: Skipped) -> list[Member]:
    """List the labelled images of a shard, in its order; count what else it holds."""
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, bytes] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for info in archive:
                path = PurePosixPath(info.name)
                key = str(path.with_suffix(""))
                suffix = path.suffix.lower()
                if not info.isreg():
                    if not info.isdir():
                        skipped.add("links or devices in shards")
                elif path.name.startswith(".") or suffix not in (*SUFFIXES, ".cls"):
                    skipped.add(f"{kind_of(path.name)} in shards")
                elif suffix != ".cls":
                    if key in images:
                        raise DataError(f"{shard}: holds two images called {shorten(key)}")
                    images[key] = info
                elif content := archive.extractfile(info):
                    labels[key] = content.read(_LABEL_BYTES)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"{shard}: is not a whole tar file ({reason(error)}); fetch it again"
        ) from error
    if unlabelled := sorted(images.keys() - labels.keys()):
        example = shorten(images[unlabelled[0]].name)
        problem = f"{len(unlabelled)} of {len(images)} images have no label, e.g. {example}"
        raise DataError(f"{shard}: {problem}; each needs a .cls file of its name")
    if spare := len(labels.keys() - images.keys()):
        skipped.add("labels without an image", number=spare)
    return [
        Member(shard, info.name, info.offset_data, info.size, _parse_label(shard, key, labels[key]))
        for key, info in images.items()
    ]


def _parse_label(shard: Path, key: str, text: bytes) -> int:
    number = text.removeprefix(codecs.BOM_UTF8).strip()
    if not re.fullmatch(rb"-?[0-9]{1,9}", number):
        problem = f"{shorten(key)}.cls holds {text!r}; it must be the index of a class"
        raise DataError(f"{shard}: {problem}")
    return int(number)


def _read_classes(path: Path) -> list[str] | None:
    try:
        return files.read_lines(path) if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read as text ({reason(error)[:80]})"
        raise DataError(f"{path}: {problem}; save it as UTF-8") from error
