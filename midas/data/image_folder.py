"""Read a folder of image files: a sub-folder for each class, perhaps within train/ and val/."""

from pathlib import Path

from midas.data.image_source import ImageSource
from midas.data.listing import Tree, clean_name, kind_of, split_of
from midas.data.pictures import SUFFIXES, open_image
from midas.data.prepared import SPLITS
from midas.io.errors import DataError, listed, shorten

_ADVICE = "put one sub-folder of images for each class there"


def folder(root: Path) -> ImageSource:
    """List the images of a folder.

    The sub-folders of `root` are the classes, or they name splits, e.g. train/ and val/, and hold
    the classes. Symbolic links are followed. What is no visible file with the suffix of an image is
    counted. A DataError says where a folder can be read in two ways.
    """
    where = f"data.root: {root}"
    if not root.is_dir():
        raise DataError(f"{where}: there is no such folder; {_ADVICE}")
    tree = Tree(root)
    folders = _find_splits(where, tree)
    by_split = {split: _list_classes(tree, paths) for split, paths in folders.items()}
    classes = list(by_split["train"])
    for split, by_class in by_split.items():
        if different := sorted(set(classes) ^ set(by_class)):
            present, absent = ("train", split) if different[0] in classes else (split, "train")
            parent = {name: shorten(str(paths[0].parent), 90) for name, paths in folders.items()}
            problem = f"class {shorten(different[0])!r} is missing in {parent[absent]}"
            raise DataError(f"{parent[present]}: {problem}; both need the same classes")
    images = {
        split: [(file, label) for label, name in enumerate(classes) for file in by_class[name]]
        for split, by_class in by_split.items()
    }
    if not any(images.values()):
        others = f"; passed over: {tree.skipped.text()}" if tree.skipped else ""
        raise DataError(f"{where}: has no images in class folders{others}")
    return ImageSource.from_splits(
        where,
        classes,
        {split: [label for _, label in pairs] for split, pairs in images.items()},
        lambda split, row: open_image(images[split][row][0]),
        lambda split, row: images[split][row][0].relative_to(root).as_posix(),
        tree,
    )


def _find_splits(where: str, tree: Tree) -> dict[str, list[Path]]:
    """Find the folders of classes of each split; without splits, all are for training."""
    paths = _list_folders(tree, tree.root)
    splits = [path for path in paths if split_of(path.name)]
    shown = listed(f"{path.name}/" for path in splits)
    if not splits:
        _check_meaning(where, paths)
        return {"train": paths}
    if len(splits) < len(paths):
        others = listed(f"{path.name}/" for path in paths if path not in splits)
        problem = f"{shown} is called like a split, beside {others}; rename or remove what is none"
        raise DataError(f"{where}: {problem}, or, if all are classes, move all into train/")
    folders = {split_of(path.name): path for path in splits}
    if "train" not in folders:
        raise DataError(f"{where}: has {shown} and no train/; add train/")
    if len(folders) < len(splits):
        raise DataError(f"{where}: {shown} name a split twice; keep one folder for each")
    return {name: _list_folders(tree, folders[name]) for name in SPLITS if name in folders}


def _check_meaning(where: str, paths: list[Path]) -> None:
    """Raise DataError where the classes may lie one level deeper: all folders hold the same ones.

    A single folder that all classes hold, e.g. images/, does not divide them.
    """
    inner = [
        {inside.name for inside in path.iterdir() if inside.is_dir() and inside.name[0] != "."}
        for path in paths
    ]
    names = sorted(inner[0])
    divides = len(names) > 1 or any(map(split_of, names))
    if divides and inner.count(inner[0]) == len(inner):
        outer = listed(f"{path.name}/" for path in paths)
        below = listed(f"{name}/" for name in names)
        raise DataError(
            f"{where}: {outer} all hold {below}; if the former are the classes, move them into "
            "train/; if the latter are, let them hold the images themselves"
        )


def _list_classes(tree: Tree, paths: list[Path]) -> dict[str, list[Path]]:
    """List the images of each class, whose name is its folder's with accents composed."""
    classes: dict[str, list[Path]] = {}
    for path in paths:
        name = clean_name(path.name)
        if name in classes:
            problem = f"two folders are called {shorten(name)!r}, their accents encoded differently"
            raise DataError(f"{path.parent}: {problem} (NFC, NFD); join or rename them")
        files = tree.files(path, name)
        classes[name] = [file for file in files if file.suffix.lower() in SUFFIXES]
        for file in files:
            if file.suffix.lower() not in SUFFIXES:
                tree.skipped.add(kind_of(file.name), name)
    return classes


def _list_folders(tree: Tree, path: Path) -> list[Path]:
    paths = tree.folders(path)
    if not paths:
        raise DataError(f"data.root: {path}: has no sub-folders; {_ADVICE}")
    return paths
