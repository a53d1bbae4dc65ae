"""What `predict.py` refuses, passes over or does not know, it says in one line."""

import io
import json
import shutil
from pathlib import Path

import onnx
import pytest
from model_folders import point_outside
from PIL import Image

import midas_cli
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


def test_what_a_folder_holds_beside_images_is_counted_by_kind(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = Image.new("RGB", (20, 20), "red")
    (tmp_path / "in/@eaDir").mkdir(parents=True)
    (tmp_path / "in/.git").mkdir()
    (tmp_path / "far").mkdir()
    for name in ("in/a.png", "in/@eaDir/b.png", "in/.git/c.png", "far/d.png"):
        photo.save(tmp_path / name)
    for name in ("a.HEIC", "b.heic", "notes.txt", "c.txt", ".DS_Store"):
        (tmp_path / "in" / name).write_bytes(b"x")
    (tmp_path / "in/link").symlink_to(tmp_path / "far")
    (tmp_path / "far/back").symlink_to(tmp_path / "in")
    assert predict.main([str(shipped / "model.onnx"), str(tmp_path / "in")]) == 1
    out, err = capsys.readouterr()
    names = {line.split(": ")[0].removeprefix(f"{tmp_path}/") for line in out.splitlines()}
    assert names == {"in/a.png", "in/link/d.png"}
    assert err.startswith(f"{tmp_path}/in: passed over: ")
    kinds = ("2 .heic", "2 .txt", "1 hidden", "1 hidden folder", "1 folder of a file server")
    assert all(kind in err for kind in (*kinds, "1 folder reached twice", "save them as JPEG"))
    assert err.count("\n") == 1


@pytest.mark.parametrize(("name", "code"), [("notes.txt", 0), (".x.png", 0), ("photo", 1)])
def test_only_what_may_be_an_image_makes_the_command_fail(
    name: str, code: int, shipped: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    (tmp_path / name).write_bytes(b"x")
    assert predict.main([str(shipped / "model.onnx"), str(tmp_path)]) == code


def test_two_dashes_end_the_options_and_lists_lose_only_line_ends(
    shipped: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-x.png", " lead.png"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    model = str(shipped / "model.onnx")
    assert predict.main([model, "--top-k", "1", "--", "-x.png"]) == 0
    assert capsys.readouterr().out.startswith("-x.png: ")
    monkeypatch.setattr("sys.stdin", io.StringIO(" lead.png\r\n"))
    assert predict.main([model, "-"]) == 0
    assert capsys.readouterr().out.startswith(" lead.png: ")
    monkeypatch.setattr("sys.argv", ["midas", "predict", model, "--", "-x.png"])
    with pytest.raises(SystemExit) as ended:
        midas_cli.main()
    assert (ended.value.code, capsys.readouterr().out[:8]) == (0, "-x.png: ")


def test_a_file_newer_than_the_runtime_is_called_so(shipped: Path, tmp_path: Path) -> None:
    proto = onnx.load(shipped / "model.onnx")
    proto.ir_version = 99
    onnx.save(proto, tmp_path / "new.onnx")
    with pytest.raises(predict.PredictError, match=r"too new for onnxruntime .*IR version: 99"):
        predict.load_model(tmp_path / "new.onnx")


def test_below_the_threshold_the_answer_is_unknown(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = onnx.load(shipped / "model.onnx")
    entry = next(e for e in proto.metadata_props if e.key == "midas_calibration")
    entry.value = json.dumps({"temperature": 1.0, "threshold": 0.99})
    onnx.save(proto, tmp_path / "model.onnx")
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    arguments = [str(tmp_path), str(tmp_path / "a.png")]
    assert predict.main(arguments) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/a.png: unknown (")
    assert predict.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unknown"] is True


def test_a_message_is_short_whatever_the_name(
    shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([str(shipped / "model.onnx"), "\n" * 4000 + ".png"]) == 1
    err = capsys.readouterr().err
    assert len(err.rstrip("\n")) <= 300
    assert "cannot be read" in err
