"""Read a folder of WebDataset shards: tar files in which an image and its label share a name.

One pass over the headers finds the members, which are read in place: nothing is unpacked.
"""

import io
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from itertools import count, islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from midas.data.image_folder import SUFFIXES
from midas.data.image_source import ImageSource
from midas.data.pictures import FORMATS
from midas.io import files
from midas.io.errors import DataError

CLASS_NAMES = "classnames.txt"
_LABEL_BYTES = 20  # the longest label that is read
_SPLIT = re.compile(r"(?<![A-Za-z])(train|val|test)")  # at the start of a word: not in latest.tar
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
    class as a number. The split is the one with which a word of the path begins; if no shard names
    a split, all are `train`. classnames.txt holds the class names, one a line.
    """
    where = f"data.root: {root}"
    members = {
        split: [member for shard in paths for member in _read_members(shard)]
        for split, paths in _find_splits(where, root).items()
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
    )


def _open(member: Member) -> Image.Image:
    with member.shard.open("rb") as file:
        file.seek(member.start)
        return Image.open(io.BytesIO(file.read(member.size)), formats=FORMATS)


def _find_splits(where: str, root: Path) -> dict[str, list[Path]]:
    """List the shards of each split, sorted; raise DataError if a shard or a split is missing."""
    paths = sorted(path for path in root.rglob("*.tar") if path.is_file())
    if not paths:
        raise DataError(f"{where}: there is no such folder or no shard in it; add *.tar files")
    names = {path.relative_to(root).as_posix(): path for path in paths}
    _check_numbers(where, names)
    splits: dict[str, list[Path]] = defaultdict(list)
    for name, path in names.items():
        words = set(_SPLIT.findall(name))
        if len(words) > 1:
            listed = ", ".join(sorted(words))
            raise DataError(f"{where}: {name} stands for several splits ({listed}); rename it")
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
            examples = islice(absent, min(5, missing))
            listed = ", ".join(f"{before}{number:0{width}}{after}.tar" for number in examples)
            more = ", ..." if missing > 5 else ""
            problem = f"{missing} of {total} shards are missing: {listed}{more}"
            raise DataError(f"{where}: {problem}; fetch them again")


def _read_members(shard: Path) -> list[Member]:
    """List the labelled images of a shard, in its order."""
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, bytes] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for info in filter(tarfile.TarInfo.isreg, archive):
                path = PurePosixPath(info.name)
                key = str(path.with_suffix(""))
                if path.suffix.lower() in SUFFIXES:
                    images[key] = info
                elif path.suffix.lower() == ".cls" and (content := archive.extractfile(info)):
                    labels[key] = content.read(_LABEL_BYTES)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{shard}: is not a whole tar file ({error}); fetch it again") from error
    if unlabelled := sorted(images.keys() - labels.keys()):
        example = images[unlabelled[0]].name
        problem = f"{len(unlabelled)} of {len(images)} images have no label, e.g. {example}"
        raise DataError(f"{shard}: {problem}; each needs a .cls file of its name")
    return [
        Member(shard, info.name, info.offset_data, info.size, _parse_label(shard, key, labels[key]))
        for key, info in images.items()
    ]


def _parse_label(shard: Path, key: str, text: bytes) -> int:
    if not re.fullmatch(rb"-?[0-9]{1,9}", text.strip()):
        raise DataError(f"{shard}: {key}.cls holds {text!r}; it must be the index of a class")
    return int(text)


def _read_classes(path: Path) -> list[str] | None:
    try:
        return files.read_text(path).splitlines() if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); save it as UTF-8") from error
