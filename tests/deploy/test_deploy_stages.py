"""The stages `export` and `evaluate` as DVC runs them, in the root of a clone."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from model_folders import CLASSES, META, edit_json, split_of, write_model_folder

from midas.data.prepared import load_split, save_meta, save_split
from midas.io.errors import DataError, ExportError, ModelFolderError, ParamsError
from pipeline import console, evaluate, export, paths


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with parameters, data and a built model, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("export:\n  opset: 20\n")
    for seed, name in enumerate(("val", "test")):
        save_split(paths.DATA / f"{name}.safetensors", split_of(40, seed))
    save_meta(paths.DATA / "meta.json", META)
    write_model_folder(paths.MODELS / "small")
    return tmp_path


def test_a_model_is_exported_verified_and_evaluated(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.show(export.command("small"))
    folder = paths.MODELS / "small"
    assert re.search(r"^validation images compared +40$", capsys.readouterr().out, re.MULTILINE)
    parity = json.loads((folder / "parity.json").read_text())
    times = json.loads((folder / "latency.json").read_text())
    assert parity["images"] == 40
    assert times["sha256"] == parity["sha256"]
    console.show(evaluate.command("small"))
    assert re.search(r"^same class on +100\.00%$", capsys.readouterr().out, re.MULTILINE)
    out = paths.EVALUATE / "small"
    details = json.loads((out / "details.json").read_text())
    with (out / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == details["images"] == 40
    right = [row["actual"] == row["predicted"] for row in rows]
    assert sum(right) / 40 == pytest.approx(details["accuracy_onnx"])
    assert {row["actual"] for row in rows} == set(CLASSES)
    worst = json.loads((out / "mistakes.json").read_text())["images"]
    shown = load_split(out / "mistakes.safetensors")
    tested = load_split(paths.DATA / "test.safetensors")
    assert all(rows[k]["actual"] != rows[k]["predicted"] for k in worst)
    assert torch.equal(shown.images, tested.images[worst])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    export.command("small", triton=clone / "triton")
    assert (clone / "triton" / "small" / "1" / "model.onnx").is_file()
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert after == before, "packaging does not export again"


def test_variants_are_exported_and_evaluated_as_the_parameters_ask(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("params.yaml").write_text("export:\n  variants: [int8]\n  max_accuracy_loss: 1.0\n")
    save_split(paths.DATA / "train.safetensors", split_of(40, 3))
    console.show(export.command("small"))
    console.show(evaluate.command("small"))
    output = capsys.readouterr().out
    assert re.search(r"^shipped +yes$", output, re.MULTILINE)
    assert re.search(r"^evaluate +small +int8$", output, re.MULTILINE)
    times = json.loads((paths.MODELS / "small" / "latency.json").read_text())["results"]
    assert {row["batch"] for row in times} == {1, 8, 32}
    assert all("onnxruntime_int8" in row for row in times)


def test_without_an_exported_file_nothing_is_evaluated(clone: Path) -> None:
    with pytest.raises(ExportError, match="run the export stage"):
        evaluate.command("small")
    assert not paths.EVALUATE.exists()


def test_without_data_the_data_stage_is_named(clone: Path) -> None:
    (paths.DATA / "val.safetensors").unlink()
    with pytest.raises(DataError, match="data stage"):
        export.command("small")


def test_without_a_model_the_build_stage_is_named(clone: Path) -> None:
    with pytest.raises(ModelFolderError, match="build stage"):
        export.command("other")


def test_a_model_with_other_classes_is_not_evaluated(clone: Path) -> None:
    edit_json(paths.MODELS / "small" / "config.json", label_names=["x", "y", "z"])
    with pytest.raises(ModelFolderError, match="label_names is not that of the prepared data"):
        evaluate.command("small")


def test_an_unknown_parameter_is_named(clone: Path) -> None:
    Path("params.yaml").write_text("export:\n  quantize: true\n")
    with pytest.raises(
        ParamsError, match=r"export\.quantize: unknown key; allowed are opset, tolerance"
    ):
        export.command("small")
