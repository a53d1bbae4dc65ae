"""What every stage command is wrapped in: checked parameters, a lock, its summary, and a record.

Where the record's hashes are those of dvc.lock, that run made the files.
"""

import fcntl
import functools
import hashlib
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline import paths
from pipeline.summary_table import Summary

Command = Callable[..., Summary | None]
PINS = Path("versions.txt")


def stage_command(
    stage: str, command: Command, item: Callable[..., object] = str
) -> Callable[..., None]:
    """The command of a stage as the command line runs it; `item` makes DVC's name of its arguments.

    Keyword-only options ask for something else, neither locked nor recorded.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        start = time.monotonic()
        bound = inspect.signature(command).bind(*args, **kwargs)
        bound.apply_defaults()
        options = [p for p in bound.signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        if any(bound.arguments[option.name] != option.default for option in options):
            command(*args, **kwargs)
            return
        from midas.engine.loop import show_progress_with  # here: help must not import torch
        from pipeline import check, console

        check.check_params(images_prepared=stage != "data")
        name = f"{stage}@{item(*bound.args)}" if bound.args else stage
        sys.stderr.write(version_warning())
        show_progress_with(console.show_progress)
        with lock(name):
            summary = command(*args, **kwargs)
            if summary is not None:
                console.show(summary)
            record(name, time.monotonic() - start)

    return run


def version_warning() -> str:
    """A line where installed libraries, which DVC does not see, are not those of versions.txt."""
    if not PINS.is_file():
        return ""  # outside of a clone
    from importlib.metadata import PackageNotFoundError, version  # here: help does not need it

    lines = [line.strip() for line in PINS.read_text(encoding="utf-8").splitlines()]
    differences = []
    for name, _, pinned in (line.partition("==") for line in lines if "==" in line):
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue  # the stage that needs it says so
        # 2.14.1+cpu is another build, not another version
        if installed.partition("+")[0] != pinned:
            differences.append(f"{name} {installed} ({PINS}: {pinned})")
    if not differences:
        return ""
    return (
        f"warning: {', '.join(differences)}: cached results are of the versions in {PINS}; "
        "make setup installs those, or write yours there to run the pipeline again\n"
    )


def record(name: str, seconds: float) -> None:
    """Write the record of a stage that has ended; `name` is DVC's, e.g. ``search@0``."""
    from midas.engine.memory import peak
    from midas.io import files

    value = {
        "stage": name,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak(),
        "outs": {str(path): _md5(path) for path in outs_of(name) if path.is_file()},
    }
    files.write_json(paths.COST / f"{name}.json", value)


def outs_of(name: str) -> list[Path]:
    """The outs, metrics and plots of a stage as dvc.yaml names them."""
    import yaml

    stage, _, item = name.partition("@")
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    definition = stages[stage]
    keys = list(definition.get("matrix", {}))
    # of two keys the first is a target's name, which may hold hyphens
    values = dict(zip(keys, item.rsplit("-", len(keys) - 1), strict=True)) if keys else {}
    outs = []
    for entry in (out for key in ("outs", "metrics", "plots") for out in definition.get(key, [])):
        text = next(iter(entry)) if isinstance(entry, dict) else str(entry)
        for key, value in values.items():
            text = text.replace(f"${{item.{key}}}", value)
        outs.append(Path(text))
    return outs


def _md5(path: Path) -> str:
    """The hash that dvc.lock has for a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the lock of a stage, e.g. ``search@0``: two processes must not write the same files.

    A stage outlives a `dvc repro` that was killed alone. Raises MidasError if another process holds
    the lock, or it cannot be written.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ or not Path("dvc.yaml").is_file():
        yield  # torchrun's parent holds it; outside of a clone no stage runs
        return
    from midas.io.errors import MidasError  # here: `--help` must not import midas

    path = paths.CHECKPOINTS / f"{quote(name, safe='@')}.lock"
    try:
        path.parent.mkdir(exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise MidasError(
            f"{path}: cannot be written ({error.strerror}); a stage needs a folder it can write"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise MidasError(
                f"{name}: process {holder} is running it in this folder; wait until it ends or "
                f"stop it (kill {holder}), then run again"
            ) from error
        os.set_inheritable(file.fileno(), True)  # torchrun holds it where its parent is killed
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
