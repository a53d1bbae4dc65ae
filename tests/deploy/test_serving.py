"""A model where people serve it from: Triton's folder, and the page in a real browser."""

import asyncio
import importlib.util
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, opened, served
from model_folders import CLASSES, META, SIZE, split_of, write_model_folder
from PIL import Image

from midas.deploy import predict
from midas.deploy.export import ExportConfig
from midas.deploy.export_folder import ship
from midas.deploy.interface import Input
from midas.deploy.serving import write_triton, write_web
from midas.io.errors import ExportError

CLASS_NAMES = (
    "JSON.stringify([...document.querySelectorAll('tr')].map(r => r.cells[0].textContent))"
)
RUNTIME = Path(os.environ.get("MIDAS_ORT_WEB", "node_modules/onnxruntime-web/dist"))


def test_a_triton_repository_holds_configuration_labels_and_version_one(
    shipped: Path, tmp_path: Path
) -> None:
    out = write_triton(shipped, tmp_path)
    assert out == tmp_path / "small"
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {"config.pbtxt", "labels.txt", "1/model.onnx"}
    assert (out / "1" / "model.onnx").read_bytes() == (shipped / "model.onnx").read_bytes()
    assert tuple((out / "labels.txt").read_text(encoding="utf-8").splitlines()) == CLASSES
    config = (out / "config.pbtxt").read_text()
    assert re.findall(r'name: "(\w+)"', config) == ["small", "image", "logits"]
    assert re.findall(r"data_type: (\w+)\s+dims: (.+)", config) == [
        ("TYPE_FP32", f"[3, {SIZE}, {SIZE}]"),
        ("TYPE_FP32", "[3]"),
    ]
    assert "dynamic_batching" in config


def test_tritons_own_schema_reads_the_configuration(shipped: Path, tmp_path: Path) -> None:
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        pytest.skip("tritonclient, which has Triton's schema, is not installed")
    file = Path(package.submodule_search_locations[0], "grpc", "model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    schema = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(schema)  # by its path, since the package itself imports grpc
    from google.protobuf import text_format

    text = (write_triton(shipped, tmp_path) / "config.pbtxt").read_text()
    config = text_format.Parse(text, schema.ModelConfig())
    assert (config.platform, list(config.input[0].dims)) == ("onnxruntime_onnx", [3, SIZE, SIZE])


def test_tritons_configuration_has_pixels_and_free_sizes(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "small")
    config = ExportConfig(input="uint8-nhwc", output="probabilities", dynamic_size=True)
    ship(folder, config, split_of(8, seed=1), META, "1.2.3")
    text = (write_triton(folder, tmp_path / "triton") / "config.pbtxt").read_text()
    assert re.findall(r"data_type: (\w+)\s+dims: (.+)", text)[0] == ("TYPE_UINT8", "[-1, -1, 3]")
    assert 'name: "probabilities"' in text


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_without_a_whole_model_nothing_is_packaged(
    tmp_path: Path, shipped: Path, damage: str
) -> None:
    (tmp_path / "small").mkdir()
    if damage == "truncated":
        (tmp_path / "small" / "model.onnx").write_bytes(
            (shipped / "model.onnx").read_bytes()[:5000]
        )
    with pytest.raises(ExportError, match="run the export stage"):
        write_triton(tmp_path / "small", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_onnxruntime_web_the_error_names_the_package(shipped: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="npm install onnxruntime-web"):
        write_web(shipped, tmp_path / "web", tmp_path / "nowhere")
    assert not (tmp_path / "web").exists()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images of many sizes and kinds, smooth enough for a clear class, and a broken file."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(20):
        width, height = rng.integers(8, 300, 2)
        image = Image.fromarray(rng.integers(0, 256, (4, 5, 4), dtype=np.uint8), "RGBA").resize(
            (width, height)
        )
        kind = ("png", "jpg", "webp", "gif")[number % 4]
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif} if kind == "jpg" else {}
        (image if kind == "png" else image.convert("RGB")).save(
            folder / f"{number:02}.{kind}", **options
        )
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.skipif(
    not RUNTIME.is_dir(),
    reason="onnxruntime-web is not here: npm install, or MIDAS_ORT_WEB=its folder dist",
)
@pytest.mark.parametrize("kind", ["float32", "uint8-nhwc", "image"])
def test_the_page_gives_the_same_classes_as_python(
    shipped: Path, photos: Path, tmp_path: Path, kind: Input
) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp, which drives the browser, is not installed")
    folder = shipped
    if kind != "float32":
        folder = write_model_folder(tmp_path / "small")
        config = ExportConfig(input=kind, output="probabilities")
        ship(folder, config, split_of(8, seed=1), META, "1.2.3")
    write_web(folder, tmp_path / "web", RUNTIME)
    answers = asyncio.run(
        _classify(tmp_path / "web", sorted(photos.iterdir()), tmp_path / "profile")
    )
    assert "broken.png cannot be read as an image" in answers.pop("broken.png")["status"]
    model = predict.load_model(folder / "model.onnx")
    expected = {}
    for name in answers:
        (row,) = model.probabilities([predict.prepare_image(photos / name, model)])
        expected[name] = model.classes[int(row.argmax())]
    assert len(answers) == 20
    assert {name: answer["rows"][0] for name, answer in answers.items()} == expected
    assert all(re.search(r", in [\d.]+ ms$", answer["status"]) for answer in answers.values())


async def _classify(web: Path, images: list[Path], profile: Path) -> dict[str, dict[str, object]]:
    """The page's answer to each image."""
    answers: dict[str, dict[str, object]] = {}
    with served(web) as address:
        async with opened(address, profile) as page:
            await page.until("document.getElementById('status')?.textContent.startsWith('Ready')")
            for image in images:
                await page.choose(image)
                rows = await page.evaluate(CLASS_NAMES)
                answers[image.name] = {"status": await page.status(), "rows": json.loads(rows)}
    return answers
