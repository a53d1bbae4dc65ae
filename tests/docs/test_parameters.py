"""Every parameter that the documentation sets is one that the stages accept."""

import re
from typing import Any

import pytest
import yaml
from pages_of_docs import PAGES, ROOT, blocks

from midas.data.config import AugmentConfig, DataConfig
from midas.deploy.export import ExportConfig
from midas.proxy.config import DecodeStageConfig, ProxyConfig
from midas.search.config import SearchConfig
from midas.spaces import get_space
from midas.train.config import TargetConfig, TaughtTargetConfig, TimmTargetConfig

SECTIONS = {
    "data": DataConfig,
    "search": SearchConfig,
    "decode": DecodeStageConfig,
    "export": ExportConfig,
}


def check(params: dict[str, Any]) -> None:
    for name, value in params.items():
        if name in SECTIONS:
            SECTIONS[name](**value)
        elif name == "targets":
            for target in value.values():
                TargetConfig(**target)
        elif name == "timm_targets":
            for target in value.values():
                TimmTargetConfig(**target)
        elif name == "taught_targets":
            for target in value.values():
                TaughtTargetConfig(**target)
        elif name == "space":
            get_space(value)
        else:
            assert name in ("seeds", "training_seeds", "launcher", "teacher"), name


def nested(name: str, value: str) -> dict[str, Any]:
    """``a.b=1`` as ``{"a": {"b": 1}}``, its value read as DVC reads it."""
    result: Any = yaml.safe_load(value)
    for key in reversed(name.split(".")):
        result = {key: result}
    return dict(result)


OPTIONS = [
    pytest.param(*option, id=f"{page.stem}-{option[0]}-{option[1]}")
    for page in PAGES
    for block in blocks(page)
    if block.language == "console"
    for option in re.findall(r"-S ([\w.]+)=(\S+)", block.text)
]
YAML = [
    pytest.param(b.text, id=page.stem)
    for page in PAGES
    for b in blocks(page)
    if b.language == "yaml"
]
INLINE = [
    pytest.param(page, code, id=f"{page.stem}-{code}")
    for page in PAGES
    for code in re.findall(
        r"`((?:search|decode|data|export)\.\w+: [^`]+)`", page.read_text(encoding="utf-8")
    )
]
OF_A_TARGET = re.findall(
    r"`(\w+: [^`]+)`", (ROOT / "docs/how-to/train.md").read_text(encoding="utf-8")
)


def test_there_are_parameters_to_check() -> None:
    assert min(len(OPTIONS), len(YAML), len(INLINE), len(OF_A_TARGET)) >= 4


@pytest.mark.parametrize(("name", "value"), OPTIONS)
def test_an_option_of_an_experiment_is_accepted(name: str, value: str) -> None:
    check(nested(name, value))


@pytest.mark.parametrize("text", YAML)
def test_a_block_of_parameters_is_accepted(text: str) -> None:
    check(yaml.safe_load(text))


@pytest.mark.parametrize(("page", "code"), INLINE)
def test_a_parameter_in_a_sentence_is_accepted(page: object, code: str) -> None:
    name, _, value = code.partition(": ")
    check(nested(name, value))


@pytest.mark.parametrize("code", OF_A_TARGET)
def test_what_the_page_on_training_says_of_a_target_is_accepted(code: str) -> None:
    TargetConfig(**yaml.safe_load(code))


REFERENCE = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
TABLES = {
    "data": DataConfig,
    "search": SearchConfig,
    "decode": DecodeStageConfig,
    "decode.proxy": ProxyConfig,
    "targets.NAME": TargetConfig,
    "augment": AugmentConfig,
    "export": ExportConfig,
}


@pytest.mark.parametrize("section", TABLES)
def test_the_reference_names_every_key_with_its_default(section: str) -> None:
    text = REFERENCE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE))
    fields = TABLES[section].model_fields
    assert set(documented) == set(fields)
    for key, shown in documented.items():
        if key != "augment":  # it has a table of its own
            default = TABLES[section].model_validate({}).model_dump(mode="json")[key]
            assert yaml.safe_load(shown) == default, key


def test_the_reference_names_what_a_model_of_timm_has_and_what_it_lacks() -> None:
    text = REFERENCE.partition("\n## timm_targets.NAME\n")[2].partition("\n## ")[0]
    fields = TimmTargetConfig.model_fields
    assert fields.keys() - TargetConfig.model_fields.keys() <= set(
        re.findall(r"^\| `(\w+)`", text, re.M)
    )
    lacking = {name for name, field in fields.items() if field.exclude}
    assert lacking == set(re.findall(r"`(\w+)`", text.partition("without")[2].partition(";")[0]))


def test_the_reference_names_what_a_taught_target_has_beside_the_others() -> None:
    text = REFERENCE.partition("\n## taught_targets.NAME\n")[2].partition("\n## ")[0]
    fields = TaughtTargetConfig.model_fields
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE))
    assert rows.keys() == fields.keys() - TargetConfig.model_fields.keys()
    assert all(yaml.safe_load(shown) == fields[key].default for key, shown in rows.items())
