"""Do interrupted runs end like undisturbed ones, byte for byte?

    python benchmarks/interruptions.py search train export repro --times 30 --folder /tmp/interruptions

A tiny project (64 digits at 8x8, one seed, one target) is run once undisturbed. Then, `times` times for each stage named
(`repro` is the whole `dvc repro`): start, send SIGKILL, SIGTERM or SIGINT to the process and its children, run again, and
compare the SHA-256 of every file in artifacts/ and models/ but those that hold times; for `repro` also dvc.lock. Signal and
moment follow from the seed; every other moment is one at which a file is just being written. Prints a Markdown table.
Rows stand in FOLDER/rows.csv, so that the harness too goes on where it was stopped.

A stage is run by a fork of this process, which has imported its libraries, so that moments fall into its work and a trial
takes seconds; `dvc repro` is run as it is.
"""

import argparse
import csv
import importlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path
from statistics import median

import midas_cli
from midas.runs.files import sha256, write_csv

FORK = multiprocessing.get_context("fork")
PRELOADED = (
    "midas.data.prepare", "midas.deploy.ship", "midas.search.selection", "midas.search.store", "midas.train.loop",
    "onnxruntime", "onnxscript", "sklearn.datasets", "torch._dynamo", "torch.export", "torch.onnx",
)  # fmt: skip
ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STATE = ("artifacts", "models", ".checkpoints", "dvc.lock", "report", ".dvc/cache", ".dvc/tmp")  # what running makes
TIMES = ("artifacts/cost/", "cost.json", "latency.json")  # files that hold times differ between any two runs
COMMANDS = {
    name: ("midas", name, *item)
    for name, *item in (
        ("data",), ("search", "0"), ("decode",), ("train", "digits", "0"), ("build", "digits"), ("export", "digits"),
    )
} | {"repro": ("dvc", "repro")}  # fmt: skip
PARAMS = """\
data: {source: digits, root: data, image_size: 8, max_images: 64}
space: nasbench201
seeds: [0]
training_seeds: [0]
search: {channels: 4, cells: 1, epochs: 3, batch_size: 16, monitor_images: 16}
decode: {samples: 16}
targets:
  digits: {channels: 4, cells: 1, epochs: 3, batch_size: 16, auxiliary_weight: 0.0, drop_path: 0.1, augment: {}}
export: {opset: 20}
"""


@dataclass(frozen=True)
class Trial:
    """One interruption and what came of it."""

    stage: str
    number: int
    signal: str
    aim: str  # "time": a moment of the undisturbed run's time; "write": while a temporary file stood there
    after: float  # seconds from the start to the signal
    code: int  # how the interrupted run ended; negative is the signal that ended it
    checkpoint: bool  # whether it left one
    again: int  # how the second run ended
    equal: bool


class Project:
    """A clone of HEAD with tiny parameters, and the state before and after each stage.

    Args:
        folder: where clone and states lie; a project that stands there is used again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.clone = folder, folder / "clone"
        if not self.clone.is_dir():
            subprocess.run(["git", "clone", "-q", str(ROOT), str(folder / "new")], check=True)
            (folder / "new/params.yaml").write_text(PARAMS)
            (folder / "new/dvc.lock").unlink(missing_ok=True)
            (folder / "new").rename(self.clone)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(self.clone)}

    def start(self, stage: str) -> ForkProcess:
        """Start a stage in a process group of its own."""
        process = FORK.Process(target=self._run, args=(stage,))
        process.start()
        return process

    def _run(self, stage: str) -> None:
        """What the process does: the command line, in the clone."""
        os.setsid()
        log = os.open(self.folder / f"{stage}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(self.clone)
        os.environ.update(self.environment)
        program, *arguments = COMMANDS[stage]
        if program == "dvc":
            os.execvp(program, COMMANDS[stage])
        sys.argv[1:] = arguments
        midas_cli.main()

    def prepare(self, stages: Sequence[str]) -> dict[str, float]:
        """Run everything undisturbed that the stages need; the state before each is kept. Returns the times in seconds."""
        times = {}
        last = max((list(COMMANDS).index(stage) for stage in stages if stage != "repro"), default=-1)
        for stage in [*list(COMMANDS)[: last + 1], *(["repro"] if "repro" in stages else [])]:
            if stage == "repro":
                self.clear()
            self.keep(f"before-{stage}")
            begin = time.monotonic()
            if code := finish(self.start(stage)):
                raise SystemExit(f"{stage}: exit code {code} undisturbed; see {self.folder / stage}.log")
            times[stage] = time.monotonic() - begin
            self.keep(f"after-{stage}")
        return times

    def clear(self) -> None:
        """Remove everything that a run made."""
        for name in STATE:
            path = self.clone / name
            path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
        subprocess.run(["git", "checkout", "-q", "--", "models", "artifacts"], cwd=self.clone, check=False, stderr=-3)

    def keep(self, name: str) -> None:
        """Copy the present state to a folder of that name."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / name).mkdir(parents=True)
        _copy(self.clone, self.folder / name)

    def restore(self, name: str) -> None:
        """Put the state of that name in place of the present one."""
        self.clear()
        _copy(self.folder / name, self.clone)

    def interrupt(self, stage: str, number: int, seed: int, seconds: float) -> tuple[str, str, float, int]:
        """Run a stage and interrupt it; draws another moment where the stage ended before. Signal, aim, time, exit code."""
        draw = random.Random(f"{seed}/{stage}/{number}")
        name, aim = draw.choice(SIGNALS), "write" if number % 2 else "time"
        while True:
            self.restore(f"before-{stage}")
            process, begin = self.start(stage), time.monotonic()
            moment, sightings = draw.uniform(0, seconds), draw.randrange(4)
            seen: set[Path] = set()
            assert process.pid is not None
            while process.exitcode is None:
                if aim == "write":
                    seen.update(parts(self.clone))
                if len(seen) > sightings or (aim == "time" and time.monotonic() - begin >= moment):
                    after = time.monotonic() - begin
                    with suppress(ProcessLookupError):  # it has just ended, or is not yet a group of its own
                        os.killpg(process.pid, name)
                        return name.name, aim, after, finish(process)
                time.sleep(0.001)

    def trial(self, stage: str, number: int, seed: int, seconds: float) -> Trial:
        """Interrupt a stage, run it again, and compare its files with those of the undisturbed run."""
        name, aim, after, code = self.interrupt(stage, number, seed, seconds)
        checkpoint = any((self.clone / ".checkpoints").rglob("*.pt"))
        again = finish(self.start(stage))
        wanted, found = (hashes(place, stage) for place in (self.folder / f"after-{stage}", self.clone))
        for path in sorted(set(wanted) | set(found)):
            if wanted.get(path) != found.get(path):
                print(f"{stage} {number}: {path} differs", file=sys.stderr)
        return Trial(stage, number, name, aim, round(after, 3), code, checkpoint, again, again == 0 and wanted == found)


def finish(process: ForkProcess) -> int:
    """Wait for a process; its exit code, negative for the signal that ended it."""
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def parts(clone: Path) -> Iterator[Path]:
    """The temporary files that stand there now."""
    for name in ("artifacts", "models", ".checkpoints", ".dvc/cache"):
        for folder, folders, files in os.walk(clone / name):
            yield from (Path(folder, file) for file in files if file.endswith((".part", ".tmp")))
            yield from (Path(folder, inner) for inner in folders if inner.startswith(".export-"))


def hashes(place: Path, stage: str) -> dict[str, str]:
    """The SHA-256 of every file that holds no times, by its path."""
    paths = [path for name in ("artifacts", "models") for path in (place / name).rglob("*") if path.is_file()]
    if stage == "repro":
        paths.append(place / "dvc.lock")
    named = {path.relative_to(place).as_posix(): path for path in paths}
    return {name: sha256(path) for name, path in named.items() if not any(word in name for word in TIMES)}


def _copy(source: Path, target: Path) -> None:
    """Copy everything that running makes."""
    for name in STATE:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        elif (source / name).is_file():
            shutil.copy2(source / name, target / name)


def load_rows(path: Path) -> list[dict[str, str]]:
    """The trials that were made before."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(rows: Sequence[dict[str, str]]) -> str:
    """One line a stage, as Markdown."""
    lines = [
        "| stage | interruptions | SIGKILL / SIGTERM / SIGINT | while writing | after, s (median) | left a checkpoint | "
        "exit codes | same bytes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for stage in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == stage]
        signals = " / ".join(str(sum(row["signal"] == s.name for row in own)) for s in SIGNALS)
        codes = ", ".join(sorted({row["code"] for row in own}, key=int))
        after = [float(row["after"]) for row in own]
        lines.append(
            f"| {stage} | {len(own)} | {signals} | {sum(row['aim'] == 'write' for row in own)} | {min(after):.1f} to "
            f"{max(after):.1f} ({median(after):.1f}) | {sum(row['checkpoint'] == 'True' for row in own)} | {codes} | "
            f"{sum(row['equal'] == 'True' for row in own)} of {len(own)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Make the trials that are missing, and print the table."""
    parser = argparse.ArgumentParser(description="Interrupt stages at random moments, and compare what comes out.")
    parser.add_argument("stages", nargs="+", choices=list(COMMANDS))
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="Where the project and the rows lie.")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path = arguments.folder / "rows.csv"
    rows, project = load_rows(path), Project(arguments.folder.resolve())
    for name in PRELOADED:
        importlib.import_module(name)
    times = project.prepare(arguments.stages)
    for stage in arguments.stages:
        done = {int(row["number"]) for row in rows if row["stage"] == stage}
        for number in sorted(set(range(arguments.times)) - done):
            trial = project.trial(stage, number, arguments.seed, times[stage])
            rows.append({key: str(value) for key, value in asdict(trial).items()})
            write_csv(path, rows)
            print(trial, flush=True)
    print(table([row for row in rows if row["stage"] in arguments.stages]))


if __name__ == "__main__":
    main()
