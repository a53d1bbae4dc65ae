"""Write to a disk that is full, then to one that is read-only, and print what happened.

It runs in a mount namespace of its own, as tests/robustness/test_writes.py starts it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from midas.data.prepared import Split, save_split
from midas.engine.checkpoint import Checkpoint
from midas.genotype import CellGenotype, Edge, Genotype, save_genotype
from midas.io import files
from midas.io.errors import MidasError
from pipeline.run_stage import lock

GENOTYPE = Genotype(
    "darts",
    {"normal": CellGenotype((Edge("skip_connect", 0, 2), Edge("skip_connect", 1, 2)), (2,))},
)
MANY = 100_000  # bytes or more, where 64 KiB are


def writes(disk: Path) -> dict[str, Callable[[], object]]:
    """Every way in which this project puts a large result on a disk."""
    big = torch.zeros(MANY)
    split = Split(torch.zeros(40, 3, 32, 32, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64))
    return {
        "text": lambda: files.write_text(disk / "text", "x" * MANY),
        "json": lambda: files.write_json(disk / "json", ["x" * MANY]),
        "csv": lambda: files.write_csv(disk / "csv", [{"x": "y" * MANY}]),
        "checkpoint": lambda: Checkpoint(disk / "state", "print").save({"weights": big}),
        "split": lambda: save_split(disk / "split", split),
    }


def attempt(write: Callable[[], object]) -> str:
    """What a person reads."""
    try:
        write()
    except MidasError as error:
        return str(error)
    return "written"


def names(disk: Path) -> list[str]:
    return sorted(path.relative_to(disk).as_posix() for path in disk.rglob("*") if path.is_file())


def main(folder: Path) -> None:
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    for name in writes(disk):
        files.write_text(disk / ("state/print.pt" if name == "checkpoint" else name), "old")
    save_genotype(disk / "genotype.json", GENOTYPE)
    (disk / "dvc.yaml").touch()  # a stage takes its lock in a clone
    before = {name: files.sha256(disk / name) for name in names(disk)}
    full = {name: attempt(write) for name, write in writes(disk).items()}
    after = {name: files.sha256(disk / name) for name in names(disk)}
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    os.chdir(disk)
    read_only = {
        "genotype": attempt(lambda: save_genotype(disk / "genotype.json", GENOTYPE)),
        "new folder": attempt(lambda: files.write_text(disk / "new" / "x", "x")),
        "lock": attempt(take_lock),
    }
    print(json.dumps({"full": full, "kept": before == after, "read only": read_only}))


def take_lock() -> None:
    with lock("data"):
        pass


if __name__ == "__main__":
    main(Path(sys.argv[1]))
