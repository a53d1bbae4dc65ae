"""`predict.py` refuses models and command lines that it cannot use, in one line."""

import json
import shutil
from pathlib import Path

import onnx
import pytest
from model_folders import point_outside

from midas.deploy import predict
from midas.deploy.predict import main


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a model is refused."""
    assert main([str(path), "image.png"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_a_missing_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be read (No such file" in refused(tmp_path / "m.onnx", capsys)


@pytest.mark.parametrize("part", [0, 10, 0.5, 0.9])
def test_a_truncated_model_is_refused(
    shipped: Path, tmp_path: Path, part: float, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (shipped / "model.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(whole[: int(part * len(whole)) if part < 1 else int(part)])
    assert "truncated or not an ONNX model" in refused(tmp_path / "m.onnx", capsys)


def test_weights_in_another_file_are_refused(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = onnx.load(shipped / "model.onnx")
    onnx.save(
        proto,
        str(tmp_path / "m.onnx"),
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    assert "in another file" in refused(tmp_path / "m.onnx", capsys)


@pytest.mark.parametrize("absolute", [False, True])
def test_weights_outside_the_models_folder_are_refused(
    shipped: Path, tmp_path: Path, absolute: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    path = Path(shutil.copy(shipped / "model.onnx", tmp_path / "model"))
    point_outside(path, str(tmp_path / "w.bin") if absolute else "../w.bin")
    assert "keeps weights in another file" in refused(path, capsys)


@pytest.mark.parametrize("key", predict.METADATA)
def test_a_model_of_another_project_is_refused_with_the_missing_metadata(
    shipped: Path, tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = onnx.load(shipped / "model.onnx")
    kept = [entry for entry in proto.metadata_props if entry.key != key]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert refused(tmp_path / "m.onnx", capsys).strip().endswith(f"metadata lack {key}")


def prepared(**changes: object) -> str:
    """The metadata of preprocessing with some of it changed."""
    image = {"size": [3, 16, 16], "mean": [0, 0, 0], "std": [1, 1, 1], "resize": 16}
    return json.dumps({**image, "interpolation": "bilinear", "crop": "center", **changes})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("midas_classes", "no JSON"),
        ("midas_classes", '["one"]'),
        ("midas_input", "[]"),
        ("midas_input", prepared(size=[3, 8, 8])),
        ("midas_input", prepared(interpolation="bicubic")),
        ("midas_input", prepared(resize=8)),
        ("midas_input", prepared(mean=[0])),
    ],
)
def test_damaged_metadata_are_refused(
    shipped: Path, tmp_path: Path, key: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = onnx.load(shipped / "model.onnx")
    next(entry for entry in proto.metadata_props if entry.key == key).value = value
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert key in refused(tmp_path / "m.onnx", capsys)


@pytest.mark.parametrize(
    "arguments", [[], ["m.onnx"], ["--top-k", "0", "a.png"], ["--batch", "x", "a.png"]]
)
def test_a_wrong_command_line_prints_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage:")
