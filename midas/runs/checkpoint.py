"""Checkpoints under a fingerprint: a killed stage goes on where it was, a changed one starts afresh.

They live in a git-ignored folder outside the stage's outs, because DVC deletes plain outs before it runs a stage again
and `persist: true` would bypass the run cache (DESIGN: "Rules of the pipeline").
"""

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from midas.runs import files

# what stages with checkpoints compute with
LIBRARIES = ("numpy", "pillow", "safetensors", "timm", "torch", "torchvision")


def fingerprint(parameters: Mapping[str, Any], paths: Iterable[Path]) -> str:
    """A hash of everything a stage's result follows from, the versions of `LIBRARIES` among it.

    Args:
        parameters: the stage's parameters, JSON values.
        paths: files and folders of code and data, each hashed by name and content (folders: their files, by their path
            in it, `__pycache__` left out).
    """
    digest = hashlib.sha256()
    libraries = {name: version(name) for name in LIBRARIES}
    digest.update(json.dumps([libraries, parameters], sort_keys=True).encode())
    for path in sorted(paths):
        members = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for member in members:
            if "__pycache__" not in member.parts:
                digest.update(f"\n{path.name}/{member.relative_to(path)}:{files.sha256(member)}".encode())
    return digest.hexdigest()[:16]


class Checkpoint:
    """The newest state of one run, in a file of its own.

    Args:
        folder: where this stage's checkpoints live, e.g. ``.checkpoints/search-0``.
        print_: the run's fingerprint; checkpoints under another one are never read, and are removed on the first save.
    """

    def __init__(self, folder: Path, print_: str) -> None:
        self.folder = folder
        self.path = folder / f"{print_}.pt"

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None where there is none that can be read (a damaged file counts as none)."""
        if not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # whatever a damaged or foreign file raises, the answer is to start afresh
            return None
        return state if isinstance(state, dict) else None

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state; `state` holds tensors and plain Python values only."""
        buffer = io.BytesIO()  # torch.save hides what a full disk says behind an error of its own
        torch.save(dict(state), buffer)
        files.write_bytes(self.path, buffer.getbuffer())
        for other in self.folder.iterdir():  # of other fingerprints, or temporary files of killed processes
            if other != self.path:
                other.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what was saved: the run is complete and its results are written."""
        shutil.rmtree(self.folder, ignore_errors=True)
