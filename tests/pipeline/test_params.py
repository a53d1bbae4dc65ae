"""Parameters are checked: a wrong one is named, with its value and what is allowed, in one line."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from dvc.stage.cache import _get_cache_hash
from dvc.utils.serialize import load_yaml
from pydantic import BaseModel

from midas.data.config import DataConfig
from midas.deploy.export import ExportConfig
from midas.io.errors import ParamsError
from midas.proxy.config import DecodeStageConfig, ProxyConfig
from midas.search.config import SearchConfig
from midas.spaces import get_space
from midas.train.config import TargetConfig
from pipeline import check, params, targets

PRESETS = sorted((Path(__file__).parents[2] / "presets").glob("*.yaml"))
QUICKSTART = [preset.stem for preset in PRESETS].index("quickstart")
SECTIONS: dict[str, Any] = {
    "data": DataConfig,
    "search": SearchConfig,
    "decode": DecodeStageConfig,
    "export": ExportConfig,
}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.stem)
def test_every_preset_is_valid(preset: Path) -> None:
    for name, config in SECTIONS.items():
        params.section(name, config, preset)
    content = params.read(preset)
    for section, kind in targets.KINDS.items():
        for target in content.get(section, {}):
            params.section(f"{section}.{target}", kind, preset)
    space = get_space(params.value("space", str, preset))
    space.without(params.section("search", SearchConfig, preset).exclude)
    assert params.value("seeds", list[int], preset)
    assert params.value("training_seeds", params.Seeds, preset)


def names(config: type[BaseModel]) -> Iterator[str]:
    """The names of a section's fields and of those of the sections in it."""
    for name, field in config.model_fields.items():
        yield name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from names(kind)


@pytest.mark.parametrize("config", [*SECTIONS.values(), *targets.KINDS.values()])
def test_dvc_takes_no_result_of_another_value_from_its_cache(config: type[BaseModel]) -> None:
    """DVC's run cache ignores parameters that are called as its facts of a file, such as `size`."""

    def key(**section: int) -> str:
        stage = {
            "cmd": "c",
            "deps": [],
            "params": {"params.yaml": {"section": {"inner": section}}},
            "outs": [],
        }
        return str(_get_cache_hash(stage))

    assert key(size=1) == key(size=2)  # what this is about
    for name in names(config):
        assert key(**{name: 1}) != key(**{name: 2}), name


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "search: {epoch: 3}",
            "search.epoch: unknown key; allowed are epochs, method, random_cells, genotype",
        ),
        ("search: {patch_size: 5}", "search.patch_size"),
        (
            "search: {learning_rate: -1}",
            "search.learning_rate: -1 is not allowed: Input should be greater than 0",
        ),
        ("search: {learning_rate: .nan}", "search.learning_rate: nan is not allowed"),
        (
            "search: {method: dart}",
            "search.method: 'dart' is not allowed: Input should be 'midas', 'darts', ",
        ),
        (
            "search: {channels: 100000}",
            "search.channels: 100000 is not allowed: Input should be less than or equal to 512",
        ),
        (
            "search: {augment: {pads: 1}}",
            "search.augment.pads: unknown key; allowed are pad, reflect,",
        ),
        ("search: {channels: 1}", "channels: a normalised key of one channel is always 0"),
        ("search: {nesterov: true, momentum: 0}", "nesterov: true needs a momentum above 0"),
        ("data: {}", "search: is missing; "),
        ("[1, 2]", "must be a mapping"),
        ("a: [1", "is not readable as YAML"),
        ("search: !!python/object/apply:os.system ['true']", "is not readable as YAML"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ParamsError) as error:
        params.section("search", SearchConfig, written(tmp_path, text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_yaml_is_read_as_dvc_reads_it(tmp_path: Path) -> None:
    text = "on: no\nseeds: [010, 0o10]\nrate: 1e-3\n"
    expected = {"on": "no", "seeds": [10, 8], "rate": 0.001}
    assert params.read(written(tmp_path, text)) == expected == load_yaml(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert params.read(tmp_path / "params.yaml") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("targets: {on: {epochs: 1}}", "targets: 'on' is not a target's name; "),
        ("targets: {'no': {epochs: 1}}", "targets: 'no' is not a target's name; "),
        ("targets: {1: {epochs: 1}}", "targets.1.[key]: 1 is read as no text; put it in quotes"),
        ("targets: {~: {epochs: 1}}", "None is read as no text; put it in quotes"),
        ("targets: {a: {}, a: {}}", 'found duplicate key "a"'),
        ("targets: {x: {" + ", ".join(f"k{i}: 1" for i in range(99)) + "}}", "; and 98 more"),
        ("targets: {" + "x" * 500 + ": {}}", "is not a target's name"),
    ],
)
def test_a_name_that_yaml_reads_in_two_ways_is_an_error_of_one_short_line(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError) as error:
        check.check_params(images_prepared=False)
    assert message in str(error.value)
    assert len(str(error.value)) <= 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {arm: darts}", "search.arm: is called method now"),
        ("decode: {rule: vote}", "decode.rule: is called aggregation now"),
        ("decode: {refine: {epochs: 3}}", "decode.refine: is called proxy now"),
        (
            "decode: {proxy: {capacity: 0.1}}",
            "decode.proxy.capacity: is called size_prior now",
        ),
        (
            "decode: {proxy: {trials: 3}}",
            "decode.proxy.trials: unknown key; allowed are cells, channels, image_size,",
        ),
    ],
)
def test_an_old_name_gets_a_line_with_the_new_one(text: str, message: str, tmp_path: Path) -> None:
    name = text.partition(":")[0]
    with pytest.raises(ParamsError) as error:
        params.section(name, SECTIONS[name], written(tmp_path, text))
    assert str(error.value).startswith(f"{tmp_path}/params.yaml: {message}")
    assert "\n" not in str(error.value)


def test_every_new_name_of_an_old_one_is_a_parameter() -> None:
    configs = (SearchConfig, DecodeStageConfig, ProxyConfig, TargetConfig)
    known = {name for config in configs for name in config.model_fields}
    assert set(params.RENAMED.values()) <= known
    assert not set(params.RENAMED) & known


def test_a_missing_file_says_where_stages_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="stages run in the root of the clone"):
        params.read(tmp_path / "params.yaml")


def test_the_active_parameters_are_the_quickstarts() -> None:
    """`make repro` compares the two files."""
    active = PRESETS[0].parents[1] / "params.yaml"
    assert active.read_bytes() == PRESETS[QUICKSTART].read_bytes()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"launchr": "none"},
            r"launchr: unknown section; allowed are data, space, seeds, search, decode,",
        ),
        (
            {"decode": {"rules": "vote"}},
            r"decode\.rules: unknown key; allowed are aggregation, samples",
        ),
        (
            {"targets": {"digits": {"epoch": 3}}},
            r"targets\.digits\.epoch: unknown key; allowed are epochs, channels,",
        ),
        (
            {"targets": {"digits": {"batch_size": 5000}}},
            r"digits\.batch_size: 5000 is more than the (\d+) .* make it \1",
        ),
        ({"export": {"opset": 99}}, r"export\.opset: 99 is not allowed"),
        ({}, None),
    ],
)
def test_the_whole_file_is_checked_when_a_stage_begins(
    wrong: dict[str, Any],
    message: str | None,
    digits_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(digits_folder, tmp_path / "artifacts/data")
    written(tmp_path, yaml.safe_dump({**yaml.safe_load(PRESETS[QUICKSTART].read_text()), **wrong}))
    monkeypatch.chdir(tmp_path)
    with (
        contextlib.nullcontext()
        if message is None
        else pytest.raises(ParamsError, match=f"^params.yaml: .*{message}")
    ):
        check.check_params(images_prepared=True)
    if "batch_size" in str(wrong):
        check.check_params(images_prepared=False)  # as the data stage, which writes others
