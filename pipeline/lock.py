"""One run of a stage at a time in a work tree: two would write the same checkpoint and the same files.

DVC has such a lock too, but a stage outlives a `dvc repro` that was killed alone, and stages are also run by hand.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

from pipeline import layout


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the lock of a stage, e.g. ``search@0``; the kernel takes it back when the process ends, however it ends, and
    what `pipeline.launch` started with it.

    Raises:
        MidasError: another process runs this stage here, or the lock cannot be written.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ or not Path("dvc.yaml").is_file():
        yield  # torchrun's parent holds it; outside of a clone no stage runs
        return
    with _locked(layout.CHECKPOINTS / f"{quote(name, safe='@')}.lock", name) as file:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _locked(path: Path, name: str) -> IO[str]:
    """The open and locked file, or a MidasError in one line."""
    try:
        path.parent.mkdir(exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        from midas.runs.errors import MidasError  # here: what starts a stage must not wait for torch

        raise MidasError(
            f"{path}: cannot be written ({error.strerror}); a stage needs a folder it can write"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.set_inheritable(file.fileno(), True)  # torchrun, which outlives a parent that is killed, holds it on
    except BlockingIOError as error:
        from midas.runs.errors import MidasError

        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise MidasError(
            f"{name}: process {holder} is running it in this folder; wait until it ends or stop it (kill {holder}), "
            "then run again"
        ) from error
    return file
