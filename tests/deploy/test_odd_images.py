"""Images of every kind, one by one: each gets the right answer or a clear line."""

import io
import os
import struct
import subprocess
import sys
import venv
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from model_folders import META, SIZE
from PIL import Image

from midas.data import pictures
from midas.data.augment import normalise
from midas.deploy import predict

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (37, 50, 3), dtype=np.uint8))
CLEAR = Image.fromarray(RNG.integers(0, 256, (37, 50, 4), dtype=np.uint8), "RGBA")
DEEP = RNG.integers(0, 65536, (31, 19), dtype=np.uint16)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    """A photo that its EXIF data turn."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(PHOTO, "JPEG", exif=exif)


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


GOOD: dict[str, bytes] = {
    "rgb.png": encoded(PHOTO, "PNG"),
    "rgb.jpg": encoded(PHOTO, "JPEG"),
    "progressive.jpg": encoded(PHOTO, "JPEG", progressive=True),
    "grey.jpg": encoded(PHOTO.convert("L"), "JPEG"),
    "cmyk.jpg": encoded(PHOTO.convert("CMYK"), "JPEG"),
    "grey.png": encoded(PHOTO.convert("L"), "PNG"),
    "one-bit.png": encoded(PHOTO.convert("1"), "PNG"),
    "palette.png": encoded(PHOTO.convert("P"), "PNG"),
    "palette-clear.png": encoded(PHOTO.convert("P"), "PNG", transparency=3),
    "palette-half-clear.png": encoded(PHOTO.convert("P"), "PNG", transparency=bytes(range(256))),
    "rgba.png": encoded(CLEAR, "PNG"),
    "grey-alpha.png": encoded(CLEAR.convert("LA"), "PNG"),
    "colour-key.png": encoded(PHOTO, "PNG", transparency=PHOTO.getpixel((0, 0))),
    "16-bit.png": encoded(Image.fromarray(DEEP), "PNG"),
    "16-bit.tiff": encoded(Image.fromarray(DEEP), "TIFF"),
    "16-bit.pgm": b"P5\n19 31\n65535\n" + DEEP.astype(">u2").tobytes(),
    "16-bit-rgb.png": png(4, 4, 16, 2, b"".join(b"\0" + bytes(range(24)) for _ in range(4))),
    "2-bit-grey.png": png(4, 4, 2, 0, b"\0\x1b" * 4),
    "lab.tiff": encoded(Image.fromarray(np.asarray(PHOTO), "LAB"), "TIFF"),
    "pages.tiff": encoded(PHOTO, "TIFF", save_all=True, append_images=[PHOTO.rotate(90)]),
    "packed.tiff": encoded(PHOTO, "TIFF", compression="tiff_lzw"),
    "lossy.webp": encoded(PHOTO, "WEBP"),
    "lossless-clear.webp": encoded(CLEAR, "WEBP", lossless=True),
    "still.gif": encoded(PHOTO.convert("P"), "GIF"),
    "moving.gif": encoded(
        PHOTO.convert("P"), "GIF", save_all=True, append_images=[PHOTO.rotate(9).convert("P")]
    ),
    "moving.png": encoded(PHOTO, "PNG", save_all=True, append_images=[PHOTO.rotate(9)]),
    "rgb.bmp": encoded(PHOTO, "BMP"),
    "one-bit.bmp": encoded(PHOTO.convert("1"), "BMP"),
    "rgb.ppm": encoded(PHOTO, "PPM"),
    **{f"turned-{orientation}.jpg": turned(orientation) for orientation in (2, 3, 4, 5, 6, 7, 8)},
    "one-pixel.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
    "tall.png": encoded(PHOTO.resize((2, 300)), "PNG"),
    "exact.png": encoded(PHOTO.resize((SIZE, SIZE)), "PNG"),
    "jpeg-called.png": encoded(PHOTO, "JPEG"),
    "NAME WITH ä AND SPACE.JPG": encoded(PHOTO, "JPEG"),
}
BAD: dict[str, bytes] = {
    "float.tiff": encoded(Image.fromarray(DEEP.astype(np.float32)), "TIFF"),
    "int32.tiff": encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
    "photo.heic": b"\0\0\0\x18ftypheic",
    "empty.png": b"",
    "text.jpg": b"this is no image\n",
    "cut.jpg": encoded(PHOTO, "JPEG")[:700],
    "cut.png": encoded(PHOTO, "PNG")[:700],
    "no-width.png": png(0, 4, 8, 0, b"\0" * 4),
    "no-pixels.png": png(4, 4, 8, 0, b""),
    "huge.png": png(60_000, 60_000, 8, 0, b""),
    "thread.png": encoded(Image.new("L", (1, 300_000)), "PNG"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    for name, data in (GOOD | BAD).items():
        (folder / name).write_bytes(data)
    return folder


def test_there_are_at_least_forty_images() -> None:
    assert len(GOOD) + len(BAD) >= 40


@pytest.mark.parametrize("name", GOOD)
def test_a_good_image_is_prepared_as_in_training(shipped: Path, folder: Path, name: str) -> None:
    model = predict.load_model(shipped / "model.onnx")
    with Image.open(folder / name) as image:
        seen = np.array(pictures.fit(pictures.to_rgb(image), SIZE))
    expected = normalise(torch.from_numpy(seen).permute(2, 0, 1)[None], META.mean, META.std)[0]
    actual = torch.from_numpy(predict.prepare_image(folder / name, model))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("turned-2.jpg", lambda a: a[:, ::-1]),
        ("turned-3.jpg", lambda a: a[::-1, ::-1]),
        ("turned-4.jpg", lambda a: a[::-1]),
        ("turned-5.jpg", lambda a: a.transpose(1, 0, 2)),
        ("turned-6.jpg", lambda a: np.rot90(a, -1)),
        ("turned-7.jpg", lambda a: np.rot90(a.transpose(1, 0, 2), 2)),
        ("turned-8.jpg", lambda a: np.rot90(a)),
    ],
)
def test_a_turned_photo_is_set_upright(
    folder: Path, name: str, turn: Callable[[np.ndarray], np.ndarray]
) -> None:
    with Image.open(folder / name) as image, Image.open(folder / "rgb.jpg") as upright:
        np.testing.assert_array_equal(np.asarray(predict.to_rgb(image)), turn(np.asarray(upright)))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_reported_in_one_line(
    shipped: Path, folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([str(shipped / "model.onnx"), str(folder / name)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{folder / name}: ")
    assert err.count("\n") == 1


def test_in_a_folder_each_image_gets_its_line_and_the_command_fails_at_the_end(
    shipped: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([str(shipped / "model.onnx"), str(folder)]) == 1
    out, err = capsys.readouterr()
    assert {line.split(": ")[0] for line in out.splitlines()} == {
        str(folder / name) for name in GOOD
    }
    bad = {str(folder / name) for name in BAD if name != "photo.heic"}
    assert {line.split(": ")[0] for line in err.splitlines()} == bad | {str(folder)}
    assert "passed over: 1 .heic; HEIC and AVIF photographs are not read" in err


@pytest.mark.slow
def test_three_packages_are_enough(shipped: Path, folder: Path, tmp_path: Path) -> None:
    """In a venv that holds onnxruntime, numpy and Pillow alone; needs the package index."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "onnxruntime", "numpy", "Pillow"]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if subprocess.run(install, env=clean, check=False).returncode != 0:
        pytest.skip("the package index cannot be reached")
    command = [python, shipped / "predict.py", folder]
    run = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    here = subprocess.run(
        [sys.executable, *command[1:]], capture_output=True, text=True, check=False
    )
    assert (run.returncode, len(run.stdout.splitlines())) == (1, len(GOOD))
    assert (run.stdout, run.stderr) == (here.stdout, here.stderr)
