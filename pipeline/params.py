"""Reading params.yaml: the typed configuration of each section checks it."""

import reprlib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML

from midas.io import files
from midas.io.errors import MidasError, ParamsError, listed, reason, shorten

Config = TypeVar("Config", bound=BaseModel)
PARAMS = Path("params.yaml")
MAX_BYTES = 2**20
_ROOM = 200  # characters of the errors that one message names
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
RENAMED = {
    "arm": "method",
    "rule": "aggregation",
    "refine": "proxy",
    "capacity": "size_prior",
    "start_from": "weights",
}
_short_repr = reprlib.Repr()  # of values, however much a few YAML aliases stand for
_short_repr.maxlevel = 2
_short_repr.maxstring = 80


def read(path: Path = PARAMS) -> dict[str, Any]:
    """The whole file; raises ParamsError unless it is a YAML mapping of at most 1 MiB."""
    try:
        # as DVC reads it: YAML 1.2, where ``on`` is a text
        content = YAML(typ="safe").load(files.read_text(path, MAX_BYTES))
    except FileNotFoundError as error:
        raise ParamsError(
            f"{path}: there is no such file here; stages run in the root of the clone"
        ) from error
    except MidasError as error:
        raise ParamsError(str(error)) from error
    except Exception as error:  # a broken date or tag raises other errors than YAML's own
        raise ParamsError(f"{path}: is not readable as YAML ({reason(error)})") from error
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: must be a mapping of sections")
    return content


def value(name: str, kind: Any, path: Path = PARAMS) -> Any:
    """The checked value under a dotted name; raises ParamsError, which says what is allowed."""
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
        raise ParamsError(f"{path}: {_message(name, kind, error)}") from error


def section(name: str, config: type[Config], path: Path = PARAMS) -> Config:
    """A section as its typed configuration; raises ParamsError as `value` does."""
    result: Config = value(name, config, path)
    return result


def _message(name: str, kind: Any, error: ValidationError) -> str:
    """The key, the value and what is allowed, for as many errors as fit into a line."""
    details = error.errors()
    lines = [_describe(name, kind, details[0])]
    for detail in details[1:]:
        line = _describe(name, kind, detail)
        if sum(map(len, lines)) + len(line) > _ROOM:
            return f"{'; '.join(lines)}; and {len(details) - len(lines)} more"
        lines.append(line)
    return "; ".join(lines)


def _describe(name: str, kind: Any, detail: Any) -> str:
    key = shorten(".".join([name, *map(str, detail["loc"])]), 80)
    if detail["loc"][-1:] == ("[key]",):
        return f"{key}: {_short_repr.repr(detail['input'])} is read as no text; put it in quotes"
    if detail["type"] != "extra_forbidden":
        return f"{key}: {_short_repr.repr(detail['input'])} is not allowed: {detail['msg']}"
    if detail["loc"][-1] in RENAMED:
        return f"{key}: is called {RENAMED[detail['loc'][-1]]} now"
    if key.startswith("targets.") and key.endswith(".model"):
        return f"{key}: a timm model stands in the section timm_targets, without search"
    allowed = list(config_in(kind, detail["loc"][:-1]).model_fields)
    close = get_close_matches(str(detail["loc"][-1]), allowed)
    return f"{key}: unknown key; allowed are {listed(dict.fromkeys([*close, *allowed]))}"


def config_in(config: type[BaseModel], names: Sequence[int | str]) -> type[BaseModel]:
    """The configuration of a section inside another, e.g. of `proxy` inside `decode`."""
    for name in names:
        annotation = config.model_fields[str(name)].annotation
        kinds = (annotation, *get_args(annotation))  # such as ProxyConfig | None
        config = next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
    return config
