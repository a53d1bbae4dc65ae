"""Whether interrupted runs end like undisturbed ones, byte for byte.

    python benchmarks/interruptions.py search train export repro --times 30 --folder /tmp/trials

A tiny project, a clone of HEAD, is run once undisturbed. Then, so many times for each stage named
(`repro` is the whole `dvc repro`), the stage is started, SIGKILL, SIGTERM or SIGINT is sent to it
and its children, it is run again, and all files in artifacts/ and models/ that hold no times are
compared (for `repro` also dvc.lock). Signal and moment follow from the number of the trial; every
other moment is one at which a file is just being written. Rows stand in FOLDER/rows.csv, so that
the trials go on where they were stopped. Prints a Markdown table.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import rows

from midas.io.files import sha256

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STATE = ["artifacts", "models", ".checkpoints", "dvc.lock", "report", ".dvc/cache", ".dvc/tmp"]
TIMES = ("artifacts/cost/", "cost.json", "latency.json")  # what differs between any two runs
STAGES = ("data", "search 0", "decode 0", "select", "train tiny 0", "build tiny", "export tiny")
COMMANDS = {stage.split()[0]: ["midas", *stage.split()] for stage in STAGES}
COMMANDS["repro"] = ["dvc", "repro"]
PARAMS = """\
data: {source: digits, root: data, image_size: 8, max_images: 64}
space: nasbench201
seeds: [0]
training_seeds: [0]
search: {channels: 4, cells: 1, epochs: 3, batch_size: 16, monitor_images: 16}
decode: {samples: 16}
targets:
  tiny: {channels: 4, cells: 1, epochs: 3, batch_size: 16, auxiliary_weight: 0, augment: {}}
export: {opset: 20}
"""


class Project:
    """A clone with tiny parameters, and its state before and after each stage, all in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clone = folder / "clone"
        if not self.clone.is_dir():
            new = folder / "new"
            subprocess.run(["git", "clone", "-q", str(rows.ROOT), str(new)], check=True)
            (new / "params.yaml").write_text(PARAMS)
            (new / "dvc.lock").unlink(missing_ok=True)
            new.rename(self.clone)
            copy_state(self.clone, folder / "fresh")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(self.clone)}

    def start(self, stage: str) -> subprocess.Popen[bytes]:
        """Start a stage in a process group of its own."""
        with (self.folder / f"{stage}.log").open("ab") as log:
            where: dict[str, Any] = {"cwd": self.clone, "env": self.environment}
            command = COMMANDS[stage]
            return subprocess.Popen(command, stdout=log, stderr=log, process_group=0, **where)

    def prepare(self, stages: Sequence[str]) -> dict[str, float]:
        """Run everything undisturbed that the stages need, and return the times in seconds."""
        times = {}
        names = list(COMMANDS)
        for stage in names[: 1 + max(map(names.index, stages))]:
            if stage in (names[0], "repro"):
                copy_state(self.folder / "fresh", self.clone)
            copy_state(self.clone, self.folder / f"before-{stage}")
            begin = time.monotonic()
            if code := self.start(stage).wait():
                raise SystemExit(f"{stage} ended with {code}; see {self.folder / stage}.log")
            times[stage] = time.monotonic() - begin
            copy_state(self.clone, self.folder / f"after-{stage}")
        return times

    def interrupt(self, stage: str, number: int, seconds: float) -> rows.Row:
        """Run a stage and interrupt it; again, at another moment, where it ended before."""
        draw = random.Random(f"0/{stage}/{number}")
        kind = draw.choice(SIGNALS)
        while True:
            copy_state(self.folder / f"before-{stage}", self.clone)
            moment = draw.uniform(0, seconds)
            sightings = draw.randrange(4) if number % 2 else None  # of files being written
            seen: set[Path] = set()
            process = self.start(stage)
            begin = time.monotonic()
            while process.poll() is None:
                after = round(time.monotonic() - begin, 3)
                if sightings is not None:
                    seen.update(unfinished(self.clone))
                is_due = after >= moment if sightings is None else len(seen) > sightings
                if is_due:
                    with suppress(ProcessLookupError):  # it has just ended, or is no group yet
                        os.killpg(process.pid, kind)
                        return {"signal": kind.name, "after": after, "code": process.wait()}
                time.sleep(0.001)

    def trial(self, stage: str, number: int, seconds: float) -> rows.Row:
        """Interrupt a stage, run it again, and compare its files with those of `prepare`."""
        row = {"stage": stage, "number": number, **self.interrupt(stage, number, seconds)}
        row["checkpoint"] = any((self.clone / ".checkpoints").rglob("*.pt"))
        again = self.start(stage).wait()
        expected = hashes(self.folder / f"after-{stage}", stage)
        actual = hashes(self.clone, stage)
        for path, _ in sorted(expected.items() ^ actual.items()):
            print(f"{stage} {number}: {path} differs", file=sys.stderr)
        return {**row, "equal": again == 0 and expected == actual}


def copy_state(source: Path, target: Path) -> None:
    """Replace everything in `target` that running makes by what is in `source`."""
    for name in STATE:
        if (target / name).is_dir():
            shutil.rmtree(target / name)
        (target / name).unlink(missing_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        elif (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def unfinished(clone: Path) -> Iterator[Path]:
    """The temporary files and folders that stand there now."""
    for name in ("artifacts", "models", ".checkpoints", ".dvc/cache"):
        for folder, folders, files in os.walk(clone / name):
            yield from (Path(folder, file) for file in files if file.endswith((".part", ".tmp")))
            yield from (Path(folder, inner) for inner in folders if inner.startswith(".export-"))


def hashes(place: Path, stage: str) -> dict[str, str]:
    """The SHA-256 of every file that holds no times, by its path."""
    paths = [path for name in ("artifacts", "models") for path in (place / name).rglob("*")]
    if stage == "repro":
        paths.append(place / "dvc.lock")
    named = {path.relative_to(place).as_posix(): path for path in paths if path.is_file()}
    kept = [name for name in named if not any(part in name for part in TIMES)]
    return {name: sha256(named[name]) for name in kept}


def table(trials: Sequence[dict[str, str]]) -> str:
    """One line a stage, as Markdown."""
    lines = ["| stage | left a checkpoint | exit codes | same bytes |", "|---|---|---|---|"]
    for stage in dict.fromkeys(trial["stage"] for trial in trials):
        group = [trial for trial in trials if trial["stage"] == stage]
        codes = ", ".join(sorted({trial["code"] for trial in group}, key=int))
        kept = sum(trial["checkpoint"] == "True" for trial in group)
        equal = sum(trial["equal"] == "True" for trial in group)
        lines.append(f"| {stage} | {kept} | {codes} | {equal} of {len(group)} |")
    return "\n".join(lines)


def main() -> None:
    """Make the trials that are missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="+", choices=list(COMMANDS))
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--folder", type=Path, required=True, help="of the clone and the rows")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "rows.csv"
    project = Project(options.folder.resolve())
    times = project.prepare(options.stages)
    for stage in options.stages:
        done = {int(row["number"]) for row in rows.read(path) if row["stage"] == stage}
        for number in sorted(set(range(options.times)) - done):
            rows.append(path, project.trial(stage, number, times[stage]))
    print(table([row for row in rows.read(path) if row["stage"] in options.stages]))


if __name__ == "__main__":
    main()
