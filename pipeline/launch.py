"""The parameter `launcher`: the same stage command, run by several processes under torchrun."""

import os
import shlex
import subprocess
import sys
from pathlib import Path


def launched(*command: str) -> bool:
    """Run this command under torchrun where params.yaml says `launcher: torchrun ARGUMENTS` and torchrun has not yet.

    Returns:
        Whether that was done, so that there is nothing left to do here.

    Raises:
        MidasError: a process of it failed; its own message stands above.
    """
    from midas.runs.errors import MidasError, ParamsError  # here: `--help` must not import midas
    from pipeline import params

    words = shlex.split(str(params.read().get("launcher") or "none"))
    if words == ["none"] or "TORCHELASTIC_RUN_ID" in os.environ:
        return False
    if words[0] != "torchrun":
        raise ParamsError(
            f"{params.PARAMS}: launcher: {words[0]!r} is not allowed; none, or torchrun with its arguments"
        )
    if not any(word.startswith(("--nnodes", "--standalone", "--rdzv")) for word in words):
        words.append("--standalone")
    # the root of the clone must be importable, where a console script puts its own folder first
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    torchrun = [sys.executable, "-m", "torch.distributed.run", *words[1:]]
    process = subprocess.Popen([*torchrun, "-m", "pipeline", *command], env=environment)
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
