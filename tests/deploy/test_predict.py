"""`predict.py` needs no other file, and prepares an image as the training data were."""

import ast
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from model_folders import CLASSES, META, SIZE, split_of, write_model_folder
from PIL import Image

from midas.data import pictures
from midas.data.augment import normalise
from midas.deploy import predict
from midas.deploy.export import ExportConfig, Input
from midas.deploy.export_folder import ship
from midas.deploy.predict import main
from midas.deploy.runtimes import run_torch
from midas.zoo.model_folder import open_model_folder


def noise(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    """A random image of a mode."""
    rng = np.random.default_rng(seed)
    if mode in ("I;16", "I"):
        return Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16)).convert(
            mode
        )
    image = Image.fromarray(rng.integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA")
    if mode in ("RGBA", "LA"):
        return image.convert(mode)
    return image.convert("RGB").convert(mode)


ODD = {
    "grey.png": noise("L", 20, 30),
    "bits.png": noise("1", 20, 30),
    "palette.png": noise("P", 33, 20),
    "alpha.png": noise("RGBA", 40, 20),
    "grey-alpha.png": noise("LA", 20, 21),
    "deep.png": noise("I;16", 19, 31),
    "print.jpg": noise("CMYK", 64, 48),
    "photo.jpg": noise("RGB", 100, 37),
    "small.png": noise("RGB", 3, 5),
    "exact.bmp": noise("RGB", SIZE, SIZE),
    "animation.gif": noise("P", 17, 17),
    "lossy.webp": noise("RGBA", 50, 50),
    "line.png": noise("RGB", 1, 40),
    "deep.tiff": noise("I;16", 19, 31),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of every mode; some turned by their EXIF, one in a sub-folder."""
    folder = tmp_path_factory.mktemp("images")
    for name, image in ODD.items():
        image.save(folder / name)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    noise("RGB", 60, 20).save(folder / "turned.jpg", exif=exif)
    clear = noise("P", 24, 20)
    clear.save(folder / "clear.png", transparency=3)
    (folder / "below").mkdir()
    noise("RGB", 20, 20, seed=1).save(folder / "below" / "deep down.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


@pytest.mark.parametrize(("kind", "tolerance"), [("uint8-nhwc", 2e-6), ("image", 2e-3)])
def test_a_file_with_pixels_and_probabilities_gives_the_same_answers(
    shipped: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: Input,
    tolerance: float,
) -> None:
    main([str(shipped / "model.onnx"), "--json", str(images)])
    expected = lines(capsys.readouterr().out)
    config = ExportConfig(input=kind, output="probabilities")
    ship(write_model_folder(tmp_path / "small"), config, split_of(40, seed=1), META, "1.2.3")
    assert main([str(tmp_path / "small" / "model.onnx"), "--json", str(images)]) == 0
    for line, expected_line in zip(lines(capsys.readouterr().out), expected, strict=True):
        assert line["image"] == expected_line["image"]
        predictions = (line["predictions"], expected_line["predictions"])
        classes = [[entry["class"] for entry in entries] for entries in predictions]
        assert classes[0] == classes[1]
        probabilities = [[entry["probability"] for entry in entries] for entries in predictions]
        assert probabilities[0] == pytest.approx(probabilities[1], abs=tolerance)


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_it_imports_nothing_but_the_standard_library_numpy_pillow_and_onnxruntime() -> None:
    tree = ast.parse(Path(predict.__file__).read_text())
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) == {
        "numpy",
        "PIL",
        "onnxruntime",
    }


def test_a_copy_works_alone_with_the_model_beside_it(
    shipped: Path, images: Path, tmp_path: Path
) -> None:
    for name in ("predict.py", "model.onnx"):
        shutil.copy(shipped / name, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    python = [sys.executable, "-I", "-W", "error"]
    command = [*python, str(tmp_path / "predict.py"), "--json", str(images / "photo.jpg")]
    environment = {"PATH": os.defpath}
    run = subprocess.run(
        command, cwd=elsewhere, capture_output=True, text=True, check=False, env=environment
    )
    assert (run.returncode, run.stderr) == (0, "")
    (line,) = lines(run.stdout)
    assert line["image"] == str(images / "photo.jpg")
    assert {entry["class"] for entry in line["predictions"]} == set(CLASSES)


@pytest.mark.parametrize("name", [*ODD, "turned.jpg", "clear.png"])
def test_an_image_is_prepared_as_the_training_data_were(
    images: Path, name: str, shipped: Path
) -> None:
    model = predict.load_model(shipped / "model.onnx")
    with Image.open(images / name) as image:
        pixels = torch.from_numpy(np.array(pictures.fit(pictures.to_rgb(image), SIZE))).permute(
            2, 0, 1
        )
    expected = normalise(pixels[None], META.mean, META.std)[0]
    torch.testing.assert_close(
        torch.from_numpy(predict.prepare_image(images / name, model)), expected, rtol=0, atol=1e-6
    )


def test_its_copies_of_library_code_equal_the_library() -> None:
    from midas.data.image_folder import SUFFIXES
    from midas.data.pictures import FORMATS
    from midas.io.errors import printable

    assert predict.SUFFIXES == SUFFIXES
    assert predict.FORMATS == FORMATS
    text = "".join(map(chr, range(0x20000)))
    assert predict.printable(text) == printable(text)
    assert predict.MAX_SCALED == pictures.MAX_SCALED


def test_probabilities_are_those_of_the_network(
    shipped: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(shipped / "model.onnx"), "--json", str(images)]) == 0
    answers = lines(capsys.readouterr().out)
    assert len(answers) == len(ODD) + 3
    network = open_model_folder(shipped)[0]
    model = predict.load_model(shipped / "model.onnx")
    for line in answers:
        image = torch.from_numpy(predict.prepare_image(Path(str(line["image"])), model))[None]
        expected = (run_torch(network, image, 1) / model.temperature).softmax(1)[0]
        actual = {entry["class"]: entry["probability"] for entry in line["predictions"]}
        assert [actual[name] for name in CLASSES] == pytest.approx(expected.tolist(), abs=2e-6)
        assert list(actual.values()) == sorted(actual.values(), reverse=True)


@pytest.mark.parametrize("batch", ["1", "5", "100"])
def test_the_batch_size_changes_nothing(
    shipped: Path, images: Path, capsys: pytest.CaptureFixture[str], batch: str
) -> None:
    main([str(shipped / "model.onnx"), str(images), "--batch", "3"])
    expected = capsys.readouterr().out
    assert main([str(shipped / "model.onnx"), str(images), "--batch", batch]) == 0
    assert capsys.readouterr().out == expected


def test_a_model_folder_stands_for_the_file_in_it(
    shipped: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = []
    for model in (shipped, shipped / "model.onnx"):
        assert main([str(model), str(images / "photo.jpg")]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_text_names_the_top_classes(
    shipped: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(shipped / "model.onnx"), "--top-k", "1", str(images / "photo.jpg")]) == 0
    name, _, prediction = capsys.readouterr().out.strip().rpartition(": ")
    best, _, probability = prediction.rpartition(" ")
    assert name == str(images / "photo.jpg")
    assert best in CLASSES
    assert float(probability) > 1 / 3


def test_a_dash_reads_a_list_from_stdin(
    shipped: Path, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{images / 'grey.png'}\n\n{images / 'below'}\n"))
    assert main([str(shipped / "model.onnx"), "--json", "-"]) == 0
    names = [line["image"] for line in lines(capsys.readouterr().out)]
    assert names == [str(images / "grey.png"), str(images / "below" / "deep down.png")]


def test_a_list_may_hold_names_that_are_not_text_or_too_long(shipped: Path, images: Path) -> None:
    image = os.fsencode(images / "grey.png")
    run = subprocess.run(
        [sys.executable, predict.__file__, shipped / "model.onnx", "--json", "-"],
        input=b"\n".join([image, b"\xe9.png", b"x" * 300, image]),
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=False,
    )
    assert [line["image"] for line in lines(run.stdout.decode())] == [str(images / "grey.png")] * 2
    assert run.returncode == 1
    assert b"No such file" in run.stderr
    assert b"File name too long" in run.stderr


def test_names_that_the_output_cannot_write_are_escaped(
    shipped: Path, images: Path, tmp_path: Path
) -> None:
    path = tmp_path / "café.png"
    shutil.copy(images / "grey.png", path)
    for form in ([], ["--json"]):
        run = subprocess.run(
            [sys.executable, predict.__file__, shipped / "model.onnx", *form, path],
            env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
            capture_output=True,
            check=True,
        )
        assert b"caf" in run.stdout
        assert not form or json.loads(run.stdout)["image"] == str(path)


def test_broken_images_are_named_and_the_others_go_on(
    shipped: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.png").write_bytes((images / "photo.jpg").read_bytes()[:900])
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.png").write_text("text")
    shutil.copy(images / "photo.jpg", tmp_path / "d.jpg")
    noise("RGB", 1, 6_000).save(tmp_path / "e.png")
    noise("RGB", 300, 300).save(tmp_path / "f.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # f.png is a decompression bomb
    monkeypatch.setattr(predict, "MAX_SCALED", 100_000)  # e.png would be scaled to 16 x 96,000
    missing = tmp_path / "missing.png"
    paths = [str(tmp_path), str(missing), str(empty)]
    assert main([str(shipped / "model.onnx"), "--json", *paths]) == 1
    out, err = capsys.readouterr()
    assert [line["image"] for line in lines(out)] == [str(tmp_path / "d.jpg")]
    reasons = dict(line.split(": ", 1) for line in err.splitlines())
    broken = [str(tmp_path / f"{c}.png") for c in "abcef"]
    assert set(reasons) == {*broken, str(missing), str(empty)}
    assert "too long and thin" in reasons[str(tmp_path / "e.png")]
    assert "No such file" in reasons[str(missing)]
    assert "no images" in reasons[str(empty)]
