"""The targets of params.yaml. A matrix of DVC cannot choose deps, so each kind has a section."""

from collections.abc import Mapping
from typing import Any

from midas.io.errors import ParamsError
from midas.train.config import TargetConfig, TaughtTargetConfig, TimmTargetConfig
from pipeline import params

KINDS: dict[str, type[TargetConfig]] = {
    "targets": TargetConfig,
    "timm_targets": TimmTargetConfig,
    "taught_targets": TaughtTargetConfig,
}


def sections(content: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The section of each target by name; raises ParamsError where two have one name."""
    known: dict[str, str] = {}
    for section in KINDS:
        if section == "targets" or section in (content or params.read()):
            names = content[section] if content else params.value(section, dict[str, Any])
            if double := known.keys() & names.keys():
                raise ParamsError(f"{section}.{min(double)}: another section has it; rename one")
            known |= dict.fromkeys(names, section)
    return known


def config(name: str) -> TargetConfig:
    """A target's typed configuration; raises ParamsError as `params.value` does."""
    section = sections().get(name, "targets")
    return params.section(f"{section}.{name}", KINDS[section])
