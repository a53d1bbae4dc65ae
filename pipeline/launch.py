"""The parameter `launcher`: the same stage command, run by several processes under torchrun."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

# torchrun's options that a params.yaml may set. Programs in place of ours, and rendezvous with
# other machines (which send each other pickles), are for a command line: docs/devices.md.
OPTIONS = {"--max-restarts", "--nproc-per-node"}
FLAGS = {"--standalone"}


def launch(*command: str) -> bool:
    """Run this command under torchrun if `launcher` says so; returns whether it did."""
    from midas.io.errors import MidasError, ParamsError  # here: `--help` must not import midas
    from pipeline import params

    try:
        words = shlex.split(str(params.read().get("launcher") or "none"))
    except ValueError as error:  # a quotation that does not end
        raise ParamsError(f"{params.PARAMS}: launcher: cannot be read ({error})") from error
    if words == ["none"] or "TORCHELASTIC_RUN_ID" in os.environ:
        return False
    unfit = _unfit_word(words)
    if unfit is not None:
        raise ParamsError(
            f"{params.PARAMS}: launcher: {unfit!r} is not allowed; none, or torchrun with "
            f"{', '.join(sorted(OPTIONS | FLAGS))}"
        )
    # the root of the clone must be importable; a console script puts its own folder first
    python_path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words[1:]]
    # torchrun inherits the stage's lock, which holds as long as one of the two processes lives
    process = subprocess.Popen(
        [*torchrun, "-m", "midas_cli", *command],
        env={**os.environ, "PYTHONPATH": python_path},
        close_fds=False,
    )
    try:
        code = process.wait()
    except BaseException:  # a signal: torchrun gives the workers 30 s for their checkpoint
        process.terminate()
        process.wait()
        raise
    if code:
        raise MidasError(
            f"{' '.join(command)}: a process under torchrun failed (exit code {code}), its message "
            "stands above; checkpoints hold what was done: mend it and run again"
        )
    return True


def _unfit_word(words: list[str]) -> str | None:
    """The first word that is not `torchrun`, an allowed option of it, or such an option's value."""
    if not words or words[0] != "torchrun":
        return words[0] if words else ""
    rest = iter(words[1:])
    for word in rest:
        name, equals, _ = word.replace("_", "-").partition("=")
        if name in OPTIONS and not equals:
            next(rest, None)  # its value
        elif name not in (OPTIONS if equals else FLAGS):
            return word
    return None
