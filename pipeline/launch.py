"""The parameter `launcher`: the same stage command, run by several processes under torchrun."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

# What torchrun may be told here. Programs in place of ours, and rendezvous with other machines (which send each other
# pickles), are for the command line of who trusts them: docs/devices.md.
_OPTIONS = {"--max-restarts", "--nproc-per-node"}
_FLAGS = {"--standalone"}


def launched(*command: str) -> bool:
    """Run this command under torchrun where params.yaml says `launcher: torchrun ARGUMENTS` and torchrun has not yet.

    Returns:
        Whether that was done, so that there is nothing left to do here.

    Raises:
        ParamsError: the parameter asks for another program, or for an option of torchrun that could start one.
        MidasError: a process of it failed; its own message stands above.
    """
    from midas.runs.errors import MidasError, ParamsError  # here: `--help` must not import midas
    from pipeline import params

    try:
        words = shlex.split(str(params.read().get("launcher") or "none"))
    except ValueError as error:  # a quotation that does not end
        raise ParamsError(f"{params.PARAMS}: launcher: cannot be read ({error})") from error
    if words == ["none"] or "TORCHELASTIC_RUN_ID" in os.environ:
        return False
    if (fault := _unfit(words)) is not None:
        raise ParamsError(
            f"{params.PARAMS}: launcher: {fault!r} is not allowed; none, or torchrun with {', '.join(sorted(_OPTIONS | _FLAGS))}"
        )
    # the root of the clone must be importable, where a console script puts its own folder first
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words[1:]]
    # it inherits the stage's lock, which holds as long as one of the two lives
    process = subprocess.Popen([*torchrun, "-m", "pipeline", *command], env=environment, close_fds=False)
    try:
        code = process.wait()
    except BaseException:  # a signal: the workers write their checkpoint, for which torchrun gives them 30 s
        process.terminate()
        process.wait()
        raise
    if code:
        raise MidasError(
            f"{' '.join(command)}: a process under torchrun failed (exit code {code}), its message stands above; "
            "checkpoints hold what was done: mend it and run again"
        )
    return True


def _unfit(words: list[str]) -> str | None:
    """The first word that is not `torchrun`, an allowed option of it, or such an option's value."""
    if not words or words[0] != "torchrun":
        return words[0] if words else ""
    rest = iter(words[1:])
    for word in rest:
        name, given, _ = word.replace("_", "-").partition("=")
        if name in _OPTIONS and not given:
            next(rest, None)  # its value
        elif name not in (_OPTIONS if given else _FLAGS):
            return word
    return None
