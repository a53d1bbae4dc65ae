"""Reading params.yaml: each section is checked by the typed configuration of the room that uses it."""

import reprlib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from midas.runs import files
from midas.runs.errors import MidasError, ParamsError

Config = TypeVar("Config", bound=BaseModel)
PARAMS = Path("params.yaml")
MAX_BYTES = 2**20
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_NAMED = 5  # faults that an error names
_SHORT = reprlib.Repr()  # of values, however much a few YAML aliases stand for
_SHORT.maxlevel, _SHORT.maxstring = 2, 80


def read(path: Path = PARAMS) -> dict[str, Any]:
    """The whole file as a mapping.

    Raises:
        ParamsError: the file is missing, larger than 1 MiB, is not YAML, or is not a mapping.
    """
    try:
        value = yaml.safe_load(files.read_text(path, MAX_BYTES))
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: there is no such file here; stages run in the root of the clone") from error
    except MidasError as error:
        raise ParamsError(str(error)) from error
    except Exception as error:  # beside its own YAMLError, the reader lets through what a broken date or tag raises
        fault = " ".join(str(error).split()) or type(error).__name__
        raise ParamsError(f"{path}: is not readable as YAML ({fault[:300]})") from error
    if not isinstance(value, dict):
        raise ParamsError(f"{path}: must be a mapping of sections")
    return value


def value(name: str, kind: Any, path: Path = PARAMS) -> Any:
    """The checked value under a dotted name, e.g. ``value("seeds", list[int])``.

    Raises:
        ParamsError: it is missing or not of that type; the message names the key, the value and what is allowed.
    """
    node: Any = read(path)
    for part in name.split("."):
        if not isinstance(node, dict) or part not in node:
            known = (
                f"; {name.rpartition('.')[0] or path} has {', '.join(map(str, node))}" if isinstance(node, dict) else ""
            )
            raise ParamsError(f"{path}: {name}: is missing{known}")
        node = node[part]
    try:
        return TypeAdapter(kind).validate_python(node)
    except ValidationError as error:
        raise ParamsError(f"{path}: {'; '.join(_lines(name, kind, error))}") from error


def training_seeds(path: Path = PARAMS) -> list[int]:
    """The seeds of every target's trainings; raises ParamsError as `value` does."""
    seeds: list[int] = value("training_seeds", Seeds, path)
    return seeds


def section(name: str, config: type[Config], path: Path = PARAMS) -> Config:
    """A section as its typed configuration; raises ParamsError as `value` does."""
    result: Config = value(name, config, path)
    return result


def _lines(name: str, kind: Any, error: ValidationError) -> list[str]:
    """For each fault: the key, the value, and what is allowed."""
    lines = []
    for fault in error.errors()[:_NAMED]:
        key = ".".join([name, *map(str, fault["loc"])])
        if fault["type"] == "extra_forbidden" and hasattr(kind, "model_fields"):
            lines.append(f"{key}: unknown key; allowed are {', '.join(kind.model_fields)}")
        else:
            lines.append(f"{key}: {_SHORT.repr(fault['input'])} is not allowed: {fault['msg']}")
    return lines
