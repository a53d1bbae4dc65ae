"""Names and parameters are text: no command of a shell, no path, no program for the launcher."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from midas.io.errors import ParamsError
from pipeline import launch, names

ROOT = Path(__file__).parents[2]
HOSTILE = [
    "x; touch pwned",
    "$(touch pwned)",
    "a'\"; touch pwned #",
    "`touch pwned`",
    "c\ntouch pwned",
    "-rf",
    "| touch pwned",
]
DEFINITION = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_no_command_of_dvc_yaml_holds_a_parameter() -> None:
    assert {name: stage["cmd"] for name, stage in DEFINITION.items()} == {
        name: f'midas {name.partition("-")[0]} "$DVC_STAGE"'
        if "matrix" in stage
        else f"midas {name}"
        for name, stage in DEFINITION.items()
    }


def test_no_text_of_the_parameters_is_run_by_the_shell(tmp_path: Path) -> None:
    """The real DVC runs the commands of dvc.yaml for hostile targets and seeds.

    The stages' deps are left out, so that a program that notes its arguments can stand in for
    `midas` and its minutes.
    """
    stages = {
        name: {key: DEFINITION[name][key] for key in ("cmd", "matrix")}
        for name in ("search", "train")
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    hostile = HOSTILE[:3]
    params = {
        "seeds": [0, *hostile, {"key; touch pwned": 1}],
        "training_seeds": [0, hostile[0]],
        "targets": {text: {} for text in ("digits", *hostile)},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    recorder = tmp_path / "bin" / "midas"
    recorder.parent.mkdir()
    recorder.write_text("#!/bin/sh\nprintf '%s\\036' \"$@\" >> calls\nprintf '\\035' >> calls\n")
    recorder.chmod(0o755)
    path = os.pathsep.join(
        [str(recorder.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    environment = {**os.environ, "PATH": path}
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro"]):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    calls = {
        tuple(call.split("\x1e")[:-1])
        for call in (tmp_path / "calls").read_text().split("\x1d")[:-1]
    }
    assert [found.name for found in tmp_path.rglob("pwned*")] == []
    assert {call for call in calls if call[0] == "train"} == {
        ("train", f"train@{text}-{seed}")
        for text in ("digits", *hostile)
        for seed in (0, hostile[0])
    }
    assert {("search", f"search@{text}") for text in ("0", *hostile)} <= calls
    assert all(len(call) == 2 for call in calls)


@pytest.mark.parametrize(
    "text",
    [
        *HOSTILE,
        "",
        "../../elsewhere",
        "/etc",
        "a/b",
        ".",
        "..",
        "a.b",
        "x" * 65,
        "ünï",
        "a b",
        "a\0b",
    ],
)
def test_what_is_no_name_is_no_target(text: str) -> None:
    for form in (text, f"train@{text}"):
        with pytest.raises(ParamsError, match="is not a target's name") as caught:
            names.target(form)
        assert str(caught.value).isprintable()


def test_the_name_of_one_target_cannot_stand_for_another() -> None:
    with pytest.raises(ParamsError, match="'evil@digits' is not a target's name"):
        names.target("train@evil@digits")


def test_a_target_and_a_seed_are_read_plainly_and_as_dvc_names_them() -> None:
    assert [names.target(text) for text in ("digits", "train@digits", "build@my-net_2")] == [
        "digits",
        "digits",
        "my-net_2",
    ]
    assert [names.seed(text) for text in ("0", "search@17")] == [0, 17]


def test_a_training_is_read_as_dvc_names_it_and_as_a_target_with_a_seed() -> None:
    for text in ("digits", "my-net", "net-2-3"):
        for seed in (0, 17):
            expected = names.Training(text, seed)
            assert names.training(f"train@{text}-{seed}") == names.training(text, seed) == expected
            assert str(expected) == f"{text}-{seed}"


@pytest.mark.parametrize("text", ["digits", "digits-", "digits-x", "digits-1.5", "a@digits-1 2"])
def test_a_training_without_a_seed_in_its_name_is_wrong_usage(text: str) -> None:
    with pytest.raises((typer.BadParameter, ParamsError)):
        names.training(f"train@{text}")


@pytest.mark.parametrize(
    "launcher",
    [
        "touch pwned",
        "torchrun evil.py",
        "torchrun --no-python touch pwned",
        "torchrun --no_python touch pwned",
        "torchrun -m evil",
        "torchrun --module=evil",
        "torchrun --nproc-per-node 2 evil.py",
        "torchrun --run-path x",
        "torchrun --log-dir /etc",
        "torchrun --rdzv-endpoint evil.example.org:1",
        "torchrun --nnodes 2",
        "torchrun --standalone=evil.py",
        "torchrun 'unclosed",
        "torchrun --no-pyth touch pwned",
        "''",
    ],
)
def test_the_launcher_starts_nothing_but_this_command(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump({"launcher": launcher}))
    Path("evil.py").write_text("open('pwned', 'w')")
    with pytest.raises(ParamsError, match="launcher: "):
        launch.launch("train", "digits")
    assert not Path("pwned").exists()


@pytest.mark.parametrize("launcher", [None, "none", ""])
def test_without_a_launcher_the_command_goes_on_here(
    launcher: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump({"launcher": launcher}))
    assert launch.launch("train", "digits") is False


def test_the_documented_launcher_is_allowed() -> None:
    pattern = re.compile(r"launcher: torchrun ([-\w ]+?)(?: #|`|$)", re.MULTILINE)
    for page in ("README.md", "docs/devices.md"):
        (options,) = set(pattern.findall((ROOT / page).read_text(encoding="utf-8")))
        assert launch._unfit_word(["torchrun", *options.split()]) is None
    options = "--standalone --nproc_per_node=2 --max-restarts 1"
    assert launch._unfit_word(["torchrun", *options.split()]) is None
