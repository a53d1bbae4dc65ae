"""Names are text: not HTML, not a terminal's control sequences, not another row of a table, not a command of a shell."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import typer
import yaml
from markupsafe import Markup
from PIL import Image
from tiny_onnx import SIDE, tiny_onnx

from midas.data.prepared import DataMeta
from midas.deploy import predict
from midas.deploy.packages import write_triton, write_web
from midas.genotype import Genotype, GenotypeError
from midas.nets.build import build_network
from midas.nets.card import model_card
from midas.nets.registry import ZOO
from midas.report import pixels
from midas.report.sources import Sources
from midas.runs import files
from midas.runs.errors import MidasError, ParamsError
from pipeline import launch, names, report

ROOT = Path(__file__).parents[2]
EVIL = "<script>alert(1)</script>"
CONTROL = "red\x1b[31m\r\nfake.png: cat 1.0000\u2028\u202e"


def test_an_error_is_one_printable_line_whatever_it_quotes() -> None:
    text = str(MidasError(f"x: {CONTROL}"))
    assert text.isprintable()
    assert "\\x1b[31m\\r\\nfake.png" in text
    assert len(str(MidasError("x" * 10**6))) <= 2000
    assert str(MidasError("Grüße: two  spaces stay")) == "Grüße: two  spaces stay"


def test_predict_prints_one_line_for_an_image_whatever_its_name_and_its_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_onnx(tmp_path / "m.onnx", (CONTROL, EVIL, "cat"))
    for name in (f"{CONTROL.replace('/', '')}.png", "plain.png"):
        Image.new("RGB", (SIDE, SIDE), "red").save(tmp_path / name)
    (tmp_path / f"broken{CONTROL}.png").write_text("no image")
    assert predict.main([str(model), str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert (out.count("\n"), err.count("\n")) == (2, 1)
    assert all(line.isprintable() for line in [*out.splitlines(), *err.splitlines()])


def test_triton_gets_a_label_a_line_and_no_foreign_text_in_its_configuration(tmp_path: Path) -> None:
    folder = tmp_path / 'a" } evil {'
    tiny_onnx(folder / "model.onnx", (CONTROL, EVIL, 'platform: "python"'))
    out = write_triton(folder, tmp_path / "repository")
    labels = (out / "labels.txt").read_text(encoding="utf-8")
    assert labels.count("\n") == 3
    assert "\x1b" not in labels
    assert re.fullmatch(r"[\w.-]+", out.name)
    config = (out / "config.pbtxt").read_text()
    assert config.count("platform") == 1
    assert "evil {" not in config
    assert config.count("{") == config.count("}")


def test_the_web_page_is_the_same_for_every_model_and_shows_names_as_text(tmp_path: Path) -> None:
    runtime = tmp_path / "dist"
    runtime.mkdir()
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (runtime / name).touch()
    tiny_onnx(tmp_path / "m" / "model.onnx", (EVIL, CONTROL, "cat"))
    page = write_web(tmp_path / "m", tmp_path / "web", runtime).read_text(encoding="utf-8")
    assert page == (ROOT / "midas/deploy/web.html").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", page)


class Tags(HTMLParser):
    """The names of a text's HTML elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.append(tag)


def test_a_model_card_shows_names_as_text_in_one_row() -> None:
    classes = (EVIL, "a\n| b | c |", "`code`", "[link](javascript:x)")
    resize: dict[str, int | str] = {"resize": 8, "interpolation": "bilinear", "crop": "center"}
    meta = DataMeta(classes, 8, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), {"train": 2}, "f", "npz", resize, 0)
    genotype = Genotype.from_value(ZOO["darts_v2"]["genotype"])
    metrics = {"best_val_accuracy": 0.5, "best_epoch": 1, "epochs": 1}
    card = model_card("m", build_network(genotype, num_classes=4, channels=2, cells=2), genotype, meta, metrics, {})
    assert Tags(card).found == []
    (row,) = [line for line in card.splitlines() if line.startswith("| classes |")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert not re.findall(r"(?<!\\)[`\[]", row)


def test_a_genotype_cannot_hold_what_a_drawing_would_have_to_escape() -> None:
    edges = [["skip_connect", 0, 2]]
    for value in (
        {"schema": 1, "space": EVIL, "cells": {"normal": {"edges": edges, "concat": [2]}}},
        {"schema": 1, "space": "darts", "cells": {EVIL: {"edges": edges, "concat": [2]}}},
        {"schema": 1, "space": "darts", "cells": {"normal": {"edges": [[EVIL, 0, 2]], "concat": [2]}}},
    ):
        with pytest.raises(GenotypeError):
            Genotype.from_value(value)


def test_names_in_the_pictures_and_numbers_of_the_report_are_text(tmp_path: Path) -> None:
    evil, image = f'"><{EVIL}', torch.zeros(3, 4, 4, dtype=torch.uint8)
    files.write_csv(tmp_path / "p.csv", [{"actual": evil}, {"actual": CONTROL}, {"actual": "cat"}])
    sources = Sources(tmp_path)
    cell = [{"row": "0", "column": "0", "operation": "skip_connect", "weight": "0.5"}]
    colours = {"skip_connect": "var(--x)"}
    for text in (
        pixels.thumbnail(image, evil),
        sources.count("p.csv", actual=evil),
        pixels.patch_map(image, cell, colours, evil, Markup("")),
    ):
        assert "script" not in Tags(str(text)).found
    assert 'value="1"' in sources.count("p.csv", actual=CONTROL), "line separators in a name end no row"


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
        name: f'midas {name} "$DVC_STAGE"' if "matrix" in stage else f"midas {name}"
        for name, stage in DEFINITION.items()
    }


def test_no_text_of_the_parameters_is_run_by_the_shell(tmp_path: Path) -> None:
    """The real DVC runs the commands of dvc.yaml for hostile targets and seeds.

    The stages' deps are left out, so that a program that notes its arguments can stand in for `midas` and its minutes.
    """
    stages = {name: {key: DEFINITION[name][key] for key in ("cmd", "matrix")} for name in ("search", "train")}
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
    path = os.pathsep.join([str(recorder.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro"]):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    calls = {tuple(call.split("\x1e")[:-1]) for call in (tmp_path / "calls").read_text().split("\x1d")[:-1]}
    assert [found.name for found in tmp_path.rglob("pwned*")] == []
    assert {call for call in calls if call[0] == "train"} == {
        ("train", f"train@{text}-{seed}") for text in ("digits", *hostile) for seed in (0, hostile[0])
    }
    assert {("search", f"search@{text}") for text in ("0", *hostile)} <= calls
    assert all(len(call) == 2 for call in calls)


@pytest.mark.parametrize(
    "text", [*HOSTILE, "", "../../elsewhere", "/etc", "a/b", ".", "..", "a.b", "x" * 65, "ünï", "a b", "a\0b"]
)
def test_what_is_no_name_is_no_target(text: str) -> None:
    for form in (text, f"train@{text}"):
        with pytest.raises(ParamsError, match="is no name for a target") as caught:
            names.target(form)
        assert str(caught.value).isprintable()


def test_the_name_of_one_target_cannot_stand_for_another() -> None:
    with pytest.raises(ParamsError, match="'evil@digits' is no name"):
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


def test_the_parameters_of_a_compared_branch_do_not_choose_where_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "clone"
    (clone / "evil").mkdir(parents=True)
    (clone / "evil/history.csv").write_text("epoch\n0\n")
    (clone / "params.yaml").write_text(yaml.safe_dump({"seeds": [0], "targets": {"../../../evil": {}}}))
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["git", "add", "-A"],
        ["git", *identity, "commit", "-qm", "x"],
    ):
        subprocess.run(command, cwd=clone, check=True, capture_output=True)
    monkeypatch.chdir(clone)
    with pytest.raises(
        MidasError, match=r"report --compare: HEAD: cannot be read \(targets: '\.\./\.\./\.\./evil' is no name"
    ):
        report.checked_out("HEAD", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "launcher",
    [
        "touch pwned", "torchrun evil.py", "torchrun --no-python touch pwned", "torchrun --no_python touch pwned",
        "torchrun -m evil", "torchrun --module=evil", "torchrun --nproc-per-node 2 evil.py", "torchrun --run-path x",
        "torchrun --log-dir /etc", "torchrun --rdzv-endpoint evil.example.org:1", "torchrun --nnodes 2",
        "torchrun --standalone=evil.py", "torchrun 'unclosed", "torchrun --no-pyth touch pwned", "''",
    ],
)  # fmt: skip
def test_the_launcher_starts_nothing_but_this_command(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump({"launcher": launcher}))
    Path("evil.py").write_text("open('pwned', 'w')")
    with pytest.raises(ParamsError, match="launcher: "):
        launch.launched("train", "digits")
    assert not Path("pwned").exists()


@pytest.mark.parametrize("launcher", [None, "none", ""])
def test_without_a_launcher_the_command_goes_on_here(
    launcher: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump({"launcher": launcher}))
    assert launch.launched("train", "digits") is False


def test_the_documented_launcher_is_allowed() -> None:
    for page in ("README.md", "docs/devices.md"):
        (options,) = set(
            re.findall(r"launcher: torchrun ([-\w ]+?)(?: #|`|$)", (ROOT / page).read_text(), re.MULTILINE)
        )
        assert launch._unfit(["torchrun", *options.split()]) is None
    assert launch._unfit(["torchrun", "--standalone", "--nproc_per_node=2", "--max-restarts", "1"]) is None
