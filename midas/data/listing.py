"""What the folder of a source holds, what names in it mean, and what is passed over.

Nothing is dropped silently: whatever a source does not use, it counts in a `Skipped`. The data
stage prints these counts, report.json keeps them, and errors about small classes name them.
"""

import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

from midas.io.errors import DataError, shorten

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_AFTER_SPLIT = re.compile(r"[ _-]?(set|split|data|images|imgs|folder|dir)$")
# what NAS systems, macOS and Windows put into folders: thumbnails, bins, snapshots
_SYSTEM_FOLDERS = frozenset({
    "@eadir", "@tmp", "@recycle", "@__thumb", "#recycle", "#snapshot", "__macosx", "$recycle.bin",
    "system volume information", "lost+found",
})  # fmt: skip
_SHOWN = 5  # kinds that one line names


class Skipped(Counter[tuple[str, str]]):
    """How much was passed over, by class (empty where it is not known) and kind."""

    def add(self, kind: str, label: str = "", number: int = 1) -> None:
        """Count a number of things of a kind, e.g. ``hidden`` or ``.heic``."""
        self[label, kind] += number

    def kinds(self, label: str | None = None) -> dict[str, int]:
        """The numbers by kind, of a class or of all together."""
        totals: Counter[str] = Counter()
        for (name, kind), number in self.items():
            if label in (None, name):
                totals[kind] += number
        return dict(sorted(totals.items()))

    def text(self, label: str | None = None) -> str:
        """The most frequent kinds on one line, e.g. ``4 .heic, 2 hidden``."""
        common = Counter(self.kinds(label)).most_common()
        shown = [f"{number} {shorten(kind, 30)}" for kind, number in common[:_SHOWN]]
        rest = sum(number for _, number in common[_SHOWN:])
        return ", ".join([*shown, *[f"{rest} of other kinds"][: rest > 0]])


class Tree:
    """The folder of a source. Links to folders are followed, but no folder is read twice.

    Attributes:
        root: the folder.
        skipped: what was passed over so far.
        links: the links that were followed out of `root`, which DVC does not watch.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.skipped = Skipped()
        self.links: list[Path] = []

    def folders(self, path: Path) -> list[Path]:
        """List the sub-folders in use, sorted; what else lies beside them is counted."""
        with os.scandir(path) as entries:
            names = sorted((entry.name, entry.is_dir()) for entry in entries)
        for name in (name for name, is_folder in names if not is_folder):
            self.skipped.add(f"{kind_of(name)} beside folders")
        seen = _identities_above(path)
        return [
            path / name for name, is_folder in names if is_folder and self._use(path / name, seen)
        ]

    def files(self, path: Path, label: str = "") -> list[Path]:
        """List the visible files at any depth, sorted; what is passed over counts for a class."""
        seen = _identities_above(path)
        files: list[Path] = []
        for parent, folders, names in os.walk(path, onerror=_refuse, followlinks=True):
            folders[:] = [n for n in sorted(folders) if self._use(Path(parent, n), seen, label)]
            for name in names:
                if name.startswith("."):
                    self.skipped.add("hidden", label)
                else:
                    files.append(Path(parent, name))
        return sorted(files)

    def _use(self, path: Path, seen: set[tuple[int, int]], label: str = "") -> bool:
        """Whether a folder is read: it is visible and not among those seen, which it joins."""
        identity = _identity(path)
        if path.name.startswith("."):
            self.skipped.add("hidden folder", label)
        elif path.name.lower() in _SYSTEM_FOLDERS:
            self.skipped.add("folder of a file server", label)
        elif identity in seen:
            self.skipped.add("folder reached twice", label)
        else:
            seen.add(identity)
            if path.is_symlink() and not path.resolve().is_relative_to(self.root.resolve()):
                self.links.append(path)
            return True
        return False


def kind_of(name: str) -> str:
    """The kind of a file that is not used: ``hidden``, its suffix, or ``without a suffix``."""
    if name.startswith("."):
        return "hidden"
    suffix = Path(name).suffix.lower()
    is_known = re.fullmatch(r"\.(?=.*[a-z])[a-z0-9]{1,8}", suffix)
    return suffix if is_known else "without a suffix"


def split_of(name: str) -> str | None:
    """The split that a name stands for, e.g. ``val`` for ``Validation_set``."""
    return SPLIT_WORDS.get(_AFTER_SPLIT.sub("", name.lower()))


def splits_in(name: str) -> set[str]:
    """The splits that words of a name stand for, e.g. ``train`` in ``mine-train-0007.tar``."""
    words = re.findall(r"[^\W\d_]+", name)
    return {split for word in words if (split := split_of(word))}


def clean_name(name: str | bytes) -> str:
    """A name as text: bytes decoded, no byte order mark, accents composed (NFC)."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return unicodedata.normalize("NFC", text.removeprefix("\ufeff"))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _identities_above(path: Path) -> set[tuple[int, int]]:
    """A folder and all above it, by their names and behind links."""
    folder = path.absolute()
    return {_identity(p) for p in (folder, *folder.parents, *folder.resolve().parents)}


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror}); make it readable")
