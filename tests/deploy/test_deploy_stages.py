"""The stages `export` and `evaluate` as DVC runs them, in the root of a clone."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from model_folders import CLASSES, META, edit_json, split_of, write_model_folder

from midas.data.prepared import load_split, save_meta, save_split
from midas.runs.errors import DataError, ExportError, ModelFolderError, ParamsError
from pipeline import evaluate, export, layout


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with parameters, data and a built model, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("export:\n  opset: 20\n")
    for seed, name in enumerate(("val", "test")):
        save_split(layout.DATA / f"{name}.safetensors", split_of(40, seed))
    save_meta(layout.DATA / "meta.json", META)
    write_model_folder(layout.MODELS / "small")
    return tmp_path


def test_a_model_is_exported_proved_and_tested(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export.command("small")
    folder = layout.MODELS / "small"
    assert re.search(r"^validation images compared +40$", capsys.readouterr().out, re.MULTILINE)
    parity, times = (json.loads((folder / name).read_text()) for name in ("parity.json", "latency.json"))
    assert parity["images"] == 40
    assert times["sha256"] == parity["sha256"]
    evaluate.command("small")
    assert re.search(r"^same class on +100\.00%$", capsys.readouterr().out, re.MULTILINE)
    metrics = json.loads((layout.EVALUATE / "small" / "metrics.json").read_text())
    with (layout.EVALUATE / "small" / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == metrics["images"] == 40
    assert sum(row["actual"] == row["predicted"] for row in rows) / 40 == pytest.approx(metrics["accuracy_onnx"])
    assert {row["actual"] for row in rows} == set(CLASSES)
    worst = json.loads((layout.EVALUATE / "small" / "mistakes.json").read_text())["images"]
    shown = load_split(layout.EVALUATE / "small" / "mistakes.safetensors")
    tested = load_split(layout.DATA / "test.safetensors")
    assert all(rows[k]["actual"] != rows[k]["predicted"] for k in worst)
    assert torch.equal(shown.images, tested.images[worst])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    export.command("small", triton=clone / "triton")
    assert (clone / "triton" / "small" / "1" / "model.onnx").is_file()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before, "packaging exports nothing again"


def test_variants_are_exported_and_tested_as_the_parameters_ask(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("params.yaml").write_text("export:\n  variants: [int8]\n  max_accuracy_loss: 1.0\n")
    save_split(layout.DATA / "train.safetensors", split_of(40, 3))
    export.command("small")
    evaluate.command("small")
    said = capsys.readouterr().out
    assert re.search(r"^shipped +yes$", said, re.MULTILINE)
    assert re.search(r"^evaluate +small +int8$", said, re.MULTILINE)
    times = json.loads((layout.MODELS / "small" / "latency.json").read_text())["results"]
    assert {row["batch"] for row in times} == {1, 8, 32}
    assert all("onnxruntime_int8" in row for row in times)


def test_without_an_exported_file_there_is_no_test(clone: Path) -> None:
    with pytest.raises(ExportError, match="run the export stage"):
        evaluate.command("small")
    assert not layout.EVALUATE.exists()


def test_without_data_the_data_stage_is_named(clone: Path) -> None:
    (layout.DATA / "val.safetensors").unlink()
    with pytest.raises(DataError, match="data stage"):
        export.command("small")


def test_without_a_model_the_build_stage_is_named(clone: Path) -> None:
    with pytest.raises(ModelFolderError, match="build stage"):
        export.command("other")


def test_a_model_of_other_classes_is_not_tested(clone: Path) -> None:
    edit_json(layout.MODELS / "small" / "config.json", label_names=["x", "y", "z"])
    with pytest.raises(ModelFolderError, match="label_names is not that of the prepared data"):
        evaluate.command("small")


def test_an_unknown_parameter_is_named(clone: Path) -> None:
    Path("params.yaml").write_text("export:\n  quantize: true\n")
    with pytest.raises(ParamsError, match=r"export\.quantize: unknown key; allowed are opset, tolerance"):
        export.command("small")
