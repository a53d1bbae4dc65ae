"""What a stage cost on this machine: written when its command ends well, outside every stage's outs.

A record also holds the hashes of what the command wrote. Where they are those of dvc.lock, the files that stand here were
made here, by that run; else they came from the cache or from a remote.
"""

import functools
import hashlib
import inspect
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import check, layout, lock, versions


def timed(stage: str, command: Callable[..., None], item: Callable[..., object] = str) -> Callable[..., None]:
    """The command of a stage, alone in its work tree, followed by its record in artifacts/cost/STAGE.json.

    Args:
        stage: its name in dvc.yaml.
        command: its positional parameters say which run of the stage; its options, keyword-only, ask for something else.
        item: from the values of the positional parameters, the run as DVC names it.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        start = time.monotonic()
        given = inspect.signature(command).bind(*args, **kwargs)
        given.apply_defaults()
        options = {name: p.default for name, p in given.signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
        if any(given.arguments[name] != default for name, default in options.items()):
            command(*args, **kwargs)
            return
        check.everything(stage)
        items = [value for name, value in given.arguments.items() if name not in options]
        name = f"{stage}@{item(*items)}" if items else stage
        sys.stderr.write(versions.warning())
        with lock.alone(name):
            command(*args, **kwargs)
            record(name, time.monotonic() - start)

    return run


def record(name: str, seconds: float) -> None:
    """Write the record of a stage that has just ended; `name` is as DVC says it, e.g. ``search@0``."""
    from midas.runs import files

    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)  # under torchrun the children compute
    peak = max(resource.getrusage(who).ru_maxrss for who in whose)
    value = {
        "stage": name,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak if sys.platform == "darwin" else 1024 * peak,
        "outs": {str(path): _md5(path) for path in outs_of(name) if path.is_file()},
    }
    files.write_json(layout.COST / f"{name}.json", value)


def outs_of(name: str) -> list[Path]:
    """The outs, metrics and plots of a stage as dvc.yaml names them."""
    import yaml

    stage, _, item = name.partition("@")
    definition = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    keys = list(definition.get("matrix", {}))  # of two, the first may hold hyphens: a target's name
    values = dict(zip(keys, item.rsplit("-", len(keys) - 1), strict=True)) if keys else {}
    named = [entry for key in ("outs", "metrics", "plots") for entry in definition.get(key, [])]
    texts = [next(iter(entry)) if isinstance(entry, dict) else str(entry) for entry in named]
    for key, value in values.items():
        texts = [text.replace(f"${{item.{key}}}", value) for text in texts]
    return [Path(text) for text in texts]


def _md5(path: Path) -> str:
    """The hash that dvc.lock has for a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
