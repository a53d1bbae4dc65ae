"""A source that is a folder of WebDataset shards: plain tar files in which an image and its label share a name.

``train/00.tar`` or ``mine-train-0007.tar`` holds ``000123.jpg`` beside ``000123.cls``, a whole number. Members are found by
one pass over the tars' headers and read where they lie; nothing is unpacked. Why not by timm's reader: docs/design.md.
"""

import io
import re
import tarfile
from collections import defaultdict
from itertools import count, islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from PIL import Image

from midas.data.folder import SUFFIXES
from midas.data.pictures import FORMATS
from midas.data.pool import Pool
from midas.runs import files
from midas.runs.errors import DataError

NAMES = "classnames.txt"
_LONGEST = 20  # bytes of a label
_SPLIT = re.compile(r"(?<![A-Za-z])(train|val|test)")  # where a word begins: latest.tar is no test
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)\.tar")


class Member(NamedTuple):
    """Where an image lies."""

    shard: Path
    name: str
    start: int
    size: int


def shards(root: Path) -> Pool:
    """The images of a folder's shards.

    A shard belongs to the split with which a word of its name begins (``train``, ``val``, ``test``), its folder's name included;
    where none says so, all are `train`. Class names stand in classnames.txt, one a line; without it the classes are numbered.

    Raises:
        DataError: there are no shards, one of a numbered row is missing, one is damaged, an image has no label, or a label is
            outside the classes.
    """
    members: list[Member] = []
    labels: list[int] = []
    splits: dict[str, list[int]] = {}
    for split, paths in _by_split(root).items():
        for shard in paths:
            for member, label in _members(shard):
                splits.setdefault(split, []).append(len(members))
                members.append(member)
                labels.append(label)
    classes = _classes(root, max(labels, default=-1), len(labels))
    if outside := [i for i, label in enumerate(labels) if not 0 <= label < len(classes)]:
        first = members[outside[0]]
        raise DataError(
            f"{first.shard}: {first.name} has the label {labels[outside[0]]}, outside 0...{len(classes) - 1} "
            f"({len(outside)} such labels)"
        )
    return Pool(
        f"data.root: {root}", tuple(classes), torch.tensor(labels, dtype=torch.int64),
        {split: torch.tensor(indices) for split, indices in splits.items()},
        lambda i: _open(members[i]), lambda i: f"{members[i].shard.relative_to(root).as_posix()}/{members[i].name}",
    )  # fmt: skip


def _open(member: Member) -> Image.Image:
    """The image, read from its place in the shard."""
    with member.shard.open("rb") as file:
        file.seek(member.start)
        return Image.open(io.BytesIO(file.read(member.size)), formats=FORMATS)


def _by_split(root: Path) -> dict[str, list[Path]]:
    """The shards of each split, sorted, none missing."""
    paths = sorted(path for path in root.rglob("*.tar") if path.is_file())
    if not paths:
        raise DataError(f"data.root: {root}: there is no such folder, or no shard (*.tar) in it")
    _check_numbers(root, paths)
    found: dict[str, list[Path]] = {}
    for path in paths:
        name = path.relative_to(root).as_posix()
        named = list(dict.fromkeys(_SPLIT.findall(name)))
        if len(named) > 1:
            raise DataError(f"data.root: {root}: the name {name} stands for several splits ({', '.join(named)})")
        found.setdefault(named[0] if named else "", []).append(path)
    if "" in found and len(found) > 1:
        raise DataError(f"data.root: {root}: some shards name a split and others, e.g. {found[''][0].name}, do not")
    if "" in found:
        return {"train": found[""]}
    if "train" not in found:
        raise DataError(f"data.root: {root}: has shards of {', '.join(found)} and none of train")
    if "test" not in found and "val" in found:  # as in a folder of images
        found["test"] = found.pop("val")
    return found


def _check_numbers(root: Path, paths: list[Path]) -> None:
    """Raise DataError where a row of numbered shards, e.g. train-0000.tar, train-0001.tar, ..., has a gap."""
    rows: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for path in paths:
        if match := _NUMBERED.fullmatch(path.relative_to(root).as_posix()):
            rows[match[1], match[3]][int(match[2])] = match[2]
    for (before, after), numbers in rows.items():
        first = min(1, *numbers) if len(numbers) > 1 else min(numbers)  # some count from 1; a single number is a name
        wanted = max(numbers) - first + 1
        if wanted > len(numbers):
            width = len(numbers[max(numbers)])
            missing = islice(
                (number for number in count(first) if number not in numbers), min(5, wanted - len(numbers))
            )
            named = ", ".join(f"{before}{number:0{width}}{after}.tar" for number in missing)
            more = ", ..." if wanted - len(numbers) > 5 else ""
            raise DataError(
                f"data.root: {root}: {wanted - len(numbers)} of {wanted} shards are missing: {named}{more}; fetch them again"
            )


def _members(shard: Path) -> list[tuple[Member, int]]:
    """The images of a shard in its order, each with its label."""
    images, labels = {}, {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for info in archive:
                path = PurePosixPath(info.name)
                key, suffix = str(path.with_suffix("")), path.suffix.lower()
                if info.isreg() and suffix in SUFFIXES:
                    images[key] = Member(shard, info.name, info.offset_data, info.size)
                elif info.isreg() and suffix == ".cls" and (content := archive.extractfile(info)) is not None:
                    labels[key] = content.read(_LONGEST)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{shard}: is no tar file, or is damaged ({error}); fetch it again") from error
    if unlabelled := sorted(set(images) - set(labels)):
        raise DataError(
            f"{shard}: {len(unlabelled)} of {len(images)} images have no label, e.g. {images[unlabelled[0]].name}; each "
            "needs a .cls of its name"
        )
    return [(member, _label(shard, key, labels[key])) for key, member in images.items()]


def _label(shard: Path, key: str, text: bytes) -> int:
    """The whole number in a .cls file."""
    if not re.fullmatch(rb"-?[0-9]{1,9}", text.strip()):
        raise DataError(f"{shard}: {key}.cls holds {text!r}; it must be a whole number, the class's place from 0")
    return int(text)


def _classes(root: Path, largest: int, images: int) -> list[str]:
    """The class names of classnames.txt, else the numbers up to the largest label, of which there are no more than images."""
    path = root / NAMES
    if path.is_file():
        try:
            return files.read_text(path).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read as text ({error})") from error
    if largest >= images:
        raise DataError(f"data.root: {root}: its largest label is {largest}, and it has {images} images; write {NAMES}")
    return [str(number) for number in range(largest + 1)]
