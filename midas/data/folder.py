"""A source that is a folder of image files: a sub-folder for each class, perhaps within train/, val/ and test/."""

import os
from collections import Counter
from pathlib import Path

import torch
from PIL import Image

from midas.data.pictures import FORMATS
from midas.data.pool import Pool
from midas.runs.errors import DataError

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}  # in any case


def folder(root: Path) -> Pool:
    """An image folder.

    With train/ beside val/ (or valid/, validation/) or test/, these are the splits: test/ is the test split, or val/ where
    there is no test/.
    Else the sub-folders of `root` are the classes. Hidden files are passed over, and so are files that are no images by their
    suffix, which are counted; symbolic links to files are followed.

    Raises:
        DataError: there is no such folder, no class folder or no image in it, or the splits' classes differ.
    """
    parts = _parts(root)
    found = {split: _classes(part) for split, part in parts.items()}
    listed = {
        split: {name: [file for file in files if file.suffix.lower() in SUFFIXES] for name, files in classes.items()}
        for split, classes in found.items()
    }
    everything = [file for classes in found.values() for files in classes.values() for file in files]
    others = Counter(file.suffix.lower() or file.name for file in everything if file.suffix.lower() not in SUFFIXES)
    classes = list(listed["train"])
    for split, members in listed.items():
        if unlike := sorted(set(classes) ^ set(members)):
            place, other = ("train", split) if unlike[0] in classes else (split, "train")
            raise DataError(
                f"{parts[place]}: class {unlike[0]!r} is missing in {parts[other]}; both need the same classes"
            )
    files = [(split, i, path) for split in listed for i, name in enumerate(classes) for path in listed[split][name]]
    if not files:
        raise DataError(f"data.root: {root}: holds no images ({', '.join(sorted(SUFFIXES))}) in its class folders")
    paths = [path for _, _, path in files]
    splits = {
        split: torch.tensor([i for i, (s, _, _) in enumerate(files) if s == split], dtype=torch.int64)
        for split in listed
    }
    return Pool(
        f"data.root: {root}", tuple(classes), torch.tensor([label for _, label, _ in files]), splits,
        lambda i: _open(paths[i]), lambda i: paths[i].relative_to(root).as_posix(), dict(others.most_common()),
    )  # fmt: skip


def _open(path: Path) -> Image.Image:
    """The image in a file, if that is one of `FORMATS`: other decoders of Pillow's start programs, or are little tried."""
    if not path.is_file():
        raise ValueError("it is no regular file")  # a pipe or a device might never end
    return Image.open(path, formats=FORMATS)


def _parts(root: Path) -> dict[str, Path]:
    """The folder of each split that the source names; a plain folder of classes is all `train`."""
    if not root.is_dir():
        raise DataError(
            f"data.root: {root}: there is no such folder; put one sub-folder of images for each class there"
        )
    names = _subfolders(root)
    given = [name for name in names if name.lower() in _NAMES]
    parts = {_NAMES[name.lower()]: root / name for name in given}
    if names and names == given and "train" not in parts:
        raise DataError(f"data.root: {root}: has {'/, '.join(given)}/ and no train/")
    if "train" not in parts or (len(given) == 1 and len(names) > 1):
        return {"train": root}
    if len(parts) < len(given):
        raise DataError(f"data.root: {root}: {'/, '.join(given)}/ name a split twice; keep one folder for each")
    if "test" not in parts and "val" in parts:
        parts["test"] = parts.pop("val")
    return {split: parts[split] for split in ("train", "val", "test") if split in parts}


def _classes(part: Path) -> dict[str, list[Path]]:
    """The files of each class folder, sorted by path."""
    names = _subfolders(part)
    if not names:
        raise DataError(f"data.root: {part}: has no sub-folders; put one sub-folder of images for each class there")
    return {name: _files(part / name) for name in names}


def _subfolders(path: Path) -> list[str]:
    """The names of the visible folders in a folder, sorted."""
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _files(path: Path) -> list[Path]:
    """The visible files at any depth below a folder, sorted."""
    found = []
    for parent, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(found)
