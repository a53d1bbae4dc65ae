"""Reading params.yaml: the typed configuration of each section checks it."""

import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from midas.io import files
from midas.io.errors import MidasError, ParamsError

Config = TypeVar("Config", bound=BaseModel)
PARAMS = Path("params.yaml")
MAX_BYTES = 2**20
MAX_ERRORS = 5  # that one message names
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
RENAMED = {
    "search.arm": "search.method",
    "decode.rule": "decode.aggregation",
    "decode.refine": "decode.proxy",
    "decode.proxy.capacity": "decode.proxy.size_prior",
}
REMOVED = (
    "second_order",
    "partial",
    "separate_keys",
    "uniform_start",
    "detach_keys",
    "checkpointing",
    "stop_at_skips",
)
_short_repr = reprlib.Repr()  # of values, however much a few YAML aliases stand for
_short_repr.maxlevel = 2
_short_repr.maxstring = 80


def read(path: Path = PARAMS) -> dict[str, Any]:
    """The whole file; raises ParamsError unless it is a YAML mapping of at most 1 MiB."""
    try:
        content = yaml.safe_load(files.read_text(path, MAX_BYTES))
    except FileNotFoundError as error:
        raise ParamsError(
            f"{path}: there is no such file here; stages run in the root of the clone"
        ) from error
    except MidasError as error:
        raise ParamsError(str(error)) from error
    except Exception as error:  # a broken date or tag raises other errors than YAML's own
        fault = " ".join(str(error).split()) or type(error).__name__
        raise ParamsError(f"{path}: is not readable as YAML ({fault[:300]})") from error
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: must be a mapping of sections")
    return content


def value(name: str, kind: Any, path: Path = PARAMS) -> Any:
    """The checked value under a dotted name, e.g. ``value("seeds", list[int])``.

    A value that is missing or of another type is a ParamsError, which says what is allowed.
    """
    node: Any = read(path)
    for part in name.split("."):
        if not isinstance(node, dict) or part not in node:
            known = ""
            if isinstance(node, dict):
                known = f"; {name.rpartition('.')[0] or path} has {', '.join(map(str, node))}"
            raise ParamsError(f"{path}: {name}: is missing{known}")
        node = node[part]
    try:
        return TypeAdapter(kind).validate_python(node)
    except ValidationError as error:
        raise ParamsError(f"{path}: {'; '.join(_messages(name, kind, error))}") from error


def training_seeds(path: Path = PARAMS) -> list[int]:
    """The seeds of every target's trainings; raises ParamsError as `value` does."""
    seeds: list[int] = value("training_seeds", Seeds, path)
    return seeds


def section(name: str, config: type[Config], path: Path = PARAMS) -> Config:
    """A section as its typed configuration; raises ParamsError as `value` does."""
    result: Config = value(name, config, path)
    return result


def _messages(name: str, kind: Any, error: ValidationError) -> list[str]:
    """For each error: the key, the value, and what is allowed."""
    lines = []
    for detail in error.errors()[:MAX_ERRORS]:
        key = ".".join([name, *map(str, detail["loc"])])
        if detail["type"] != "extra_forbidden":
            value = _short_repr.repr(detail["input"])
            lines.append(f"{key}: {value} is not allowed: {detail['msg']}")
        elif key in RENAMED:
            lines.append(f"{key}: is called {RENAMED[key]} now")
        elif name == "search" and detail["loc"][-1] in REMOVED:
            lines.append(f"{key}: was removed; docs/learned.md says why")
        else:
            allowed = config_in(kind, detail["loc"][:-1]).model_fields
            lines.append(f"{key}: unknown key; allowed are {', '.join(allowed)}")
    return lines


def config_in(config: type[BaseModel], names: Sequence[int | str]) -> type[BaseModel]:
    """The configuration of a section inside another, e.g. of `proxy` inside `decode`."""
    for name in names:
        annotation = config.model_fields[str(name)].annotation
        kinds = (annotation, *get_args(annotation))  # such as ProxyConfig | None
        config = next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
    return config
