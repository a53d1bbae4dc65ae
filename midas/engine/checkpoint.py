"""Checkpoints under a fingerprint: a killed stage goes on, a changed one starts afresh."""

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from midas.io import files

# what stages with checkpoints compute with
LIBRARIES = ("numpy", "pillow", "safetensors", "timm", "torch", "torchvision")


def fingerprint(parameters: Mapping[str, Any], paths: Iterable[Path]) -> str:
    """A hash of JSON values, files and folders by name and content, and versions of `LIBRARIES`."""
    digest = hashlib.sha256()
    libraries = {name: version(name) for name in LIBRARIES}
    digest.update(json.dumps([libraries, parameters], sort_keys=True).encode())
    for path in sorted(paths):
        members = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for member in members:
            if "__pycache__" not in member.parts:
                name = f"{path.name}/{member.relative_to(path)}"
                digest.update(f"\n{name}:{files.sha256(member)}".encode())
    return digest.hexdigest()[:16]


class Checkpoint:
    """The newest state of a run in `folder`; the first save removes other fingerprints' states."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.path = folder / f"{name}.pt"

    def load(self) -> dict[str, Any] | None:
        """The saved state; None where there is no file, or a damaged one."""
        if not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # whatever a damaged or foreign file raises, the run starts afresh
            return None
        return state if isinstance(state, dict) else None

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state; `state` holds tensors and plain Python values only."""
        buffer = io.BytesIO()  # torch.save would hide a full disk behind an error of its own
        torch.save(dict(state), buffer)
        files.write_bytes(self.path, buffer.getbuffer())
        for other in self.folder.iterdir():  # other fingerprints, and files of killed processes
            if other != self.path:
                other.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what was saved: the run is complete and its results are written."""
        shutil.rmtree(self.folder, ignore_errors=True)
