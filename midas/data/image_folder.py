"""Read a folder of image files: a sub-folder for each class, perhaps within train/ and val/."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from PIL import Image

from midas.data.image_source import ImageSource
from midas.data.pictures import FORMATS
from midas.data.prepared import SPLITS
from midas.io.errors import DataError

_BITMAPS = (".bmp", ".gif", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SUFFIXES = frozenset((*_BITMAPS, ".jfif", ".jpe", ".jpeg", ".jpg"))
# sub-folders that name a split, in upper or lower case
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_ADVICE = "put one sub-folder of images for each class there"


def folder(root: Path) -> ImageSource:
    """List the images of a folder.

    The sub-folders of `root` are the classes, or they are train/ and val/ (or valid/, validation/)
    or test/ and hold the classes. Hidden files are ignored, files without the suffix of an image
    are counted, and symbolic links to files are followed.
    """
    where = f"data.root: {root}"
    folders = _find_splits(where, root)
    files = {split: _list_classes(path) for split, path in folders.items()}
    classes = list(files["train"])
    images: dict[str, list[tuple[Path, int]]] = {}
    suffixes: Counter[str] = Counter()
    for split, by_class in files.items():
        if different := sorted(set(classes) ^ set(by_class)):
            present, absent = ("train", split) if different[0] in classes else (split, "train")
            problem = f"class {different[0]!r} is missing in {folders[absent]}"
            raise DataError(f"{folders[present]}: {problem}; both need the same classes")
        listed = [(file, label) for label, name in enumerate(classes) for file in by_class[name]]
        images[split] = [pair for pair in listed if pair[0].suffix.lower() in SUFFIXES]
        suffixes.update(file.suffix.lower() or file.name for file, _ in listed)
    if not any(images.values()):
        raise DataError(f"{where}: has no images in class folders ({', '.join(sorted(SUFFIXES))})")
    source = ImageSource.from_splits(
        where,
        classes,
        {split: [label for _, label in pairs] for split, pairs in images.items()},
        lambda split, row: _open(images[split][row][0]),
        lambda split, row: images[split][row][0].relative_to(root).as_posix(),
    )
    return replace(source, skipped_files={s: n for s, n in suffixes.items() if s not in SUFFIXES})


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise ValueError("it is no regular file")  # a pipe or a device might never end
    return Image.open(path, formats=FORMATS)


def _find_splits(where: str, root: Path) -> dict[str, Path]:
    """Find the folder of each split; a folder of classes is the training split."""
    if not root.is_dir():
        raise DataError(f"{where}: there is no such folder; {_ADVICE}")
    names = _list_folders(root)
    split_names = [name for name in names if name.lower() in _SPLITS]
    folders = {_SPLITS[name.lower()]: root / name for name in split_names}
    listed = ", ".join(f"{name}/" for name in split_names)
    if names == split_names and "train" not in folders:
        raise DataError(f"{where}: has {listed} and no train/; add train/")
    # a single train/ beside other folders is a class
    if "train" not in folders or (len(split_names) == 1 and len(names) > 1):
        return {"train": root}
    if len(folders) < len(split_names):
        raise DataError(f"{where}: {listed} name a split twice; keep one folder for each")
    return {split: folders[split] for split in SPLITS if split in folders}


def _list_classes(path: Path) -> dict[str, list[Path]]:
    return {name: _list_files(path / name) for name in _list_folders(path)}


def _list_folders(path: Path) -> list[str]:
    names = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise DataError(f"data.root: {path}: has no sub-folders; {_ADVICE}")
    return names


def _list_files(path: Path) -> list[Path]:
    """List the visible files at any depth, sorted."""
    files: list[Path] = []
    for parent, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(files)
