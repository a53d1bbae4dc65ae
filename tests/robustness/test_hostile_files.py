"""Hostile files are refused in one line: false headers, archives that escape, endless images."""

import gzip
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from tiny_onnx import onnx_with_external_weight, tiny_onnx

from midas.analysis.nasbench201 import load_table
from midas.data.arrays import npz
from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.data.prepared import load_split
from midas.deploy import predict
from midas.deploy.interface import PLAIN
from midas.deploy.parity import check_structure
from midas.deploy.runtimes import ParityError, run_onnx
from midas.io.errors import DataError, MidasError
from midas.train.store import load_weights


def header(entries: dict[str, object], data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: list[int], start: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


LYING = {
    "a header longer than the file": header({}, length=2**60),
    "a header of no JSON": struct.pack("<Q", 4) + b"{[(<",
    "offsets behind the end": header({"images": entry("U8", [2**40], 0, 2**40)}),
    "offsets that run back": header({"images": entry("U8", [8], 8, 0)}, bytes(8)),
    "a shape larger than its bytes": header(
        {"images": entry("U8", [10**6, 10**6], 0, 8)}, bytes(8)
    ),
    "a shape whose product overflows": header(
        {"images": entry("U8", [2**63, 2**63], 0, 8)}, bytes(8)
    ),
    "two tensors in one place": header(
        {"a": entry("U8", [8], 0, 8), "b": entry("U8", [8], 0, 8)}, bytes(8)
    ),
    "a hole between tensors": header({"a": entry("U8", [2], 6, 8)}, bytes(8)),
    "an unknown type": header({"images": entry("PICKLE", [8], 0, 8)}, bytes(8)),
    "nothing": b"",
}


@pytest.mark.parametrize("what", LYING)
@pytest.mark.parametrize("load", [load_split, load_weights])
def test_a_lying_safetensors_header_is_refused(
    what: str, load: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(LYING[what])
    with pytest.raises(MidasError, match=r"a\.safetensors: is damaged"):
        load(path)


def test_a_split_with_fewer_images_than_labels_is_refused(tmp_path: Path) -> None:
    tensors = {
        "images": torch.zeros(2, 4, 4, 3, dtype=torch.uint8),
        "labels": torch.zeros(3, dtype=torch.int64),
    }
    (tmp_path / "a").write_bytes(safetensors.torch.save(tensors))
    with pytest.raises(DataError, match="does not hold a split"):
        load_split(tmp_path / "a")


def npy(shape: tuple[int, ...], kind: str, data: bytes) -> bytes:
    """An array file with any header."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": kind, "fortran_order": False, "shape": shape}
    )
    return file.getvalue() + data


def save_zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return path


LABELS = npy((2,), "<i8", bytes(16))


@pytest.mark.parametrize("shape", [(2, 10**6, 10**6), (10**9, 8, 8), (2**62, 2, 2)])
def test_an_array_that_claims_more_than_it_holds_is_refused(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    path = save_zip(
        tmp_path / "a.npz", images__npy=npy(shape, "|u1", bytes(64)), labels__npy=LABELS
    )
    with pytest.raises(DataError, match=r"is not readable as \.npz"):
        npz(path)


def test_an_archive_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midas.data.arrays.MAX_BYTES", 10**6)
    path = save_zip(
        tmp_path / "a.npz",
        images__npy=npy((2, 1000, 1000), "|u1", bytes(2 * 10**6)),
        labels__npy=LABELS,
    )
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="it unpacks to"):
        npz(path)


def test_labels_cannot_ask_for_more_classes_than_there_are_images(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", images=np.zeros((3, 8, 8), np.uint8), labels=np.array([0, 1, 10**12])
    )
    with pytest.raises(DataError, match="its largest label is 1000000000000, and it has 3 images"):
        npz(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-30], lambda b: b[:40] + b"\xff" * 20 + b[60:], lambda b: b[:200]]
)
def test_a_damaged_archive_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = save_zip(
        tmp_path / "a.npz", images__npy=npy((2, 8, 8), "|u1", os.urandom(128)), labels__npy=LABELS
    )
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"is not readable as \.npz"):
        npz(path)


@pytest.mark.parametrize("source", ["npz", "folder"])
def test_an_archive_as_data_root_is_not_unpacked(source: str, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = inner / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../climbed.png", "up")
        link = zipfile.ZipInfo("train/link.png")
        link.external_attr = 0o120777 << 16  # a symbolic link
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError):
        prepare(
            DataConfig.model_validate({"source": source, "root": str(path), "image_size": 8}),
            tmp_path / "out",
        )
    assert [p.name for p in tmp_path.rglob("*")] == ["inner", "a.zip"]


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"arch,a_test\n" + bytes(2**27)),
        b"arch,a_test\n" + b"x" * 200_000 + b",1\n",
        gzip.compress(b"arch,a_test\n")[:-9],
        gzip.compress(bytes(1000))[:15] + b"\xff" * 30,
        b"arch,a_test\n|a~0|,ten\n",
        b"\xff\xfe",
    ],
    ids=["bomb", "endless field", "cut", "damaged", "no number", "no text"],
)
def test_a_hostile_table_of_accuracies_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(data)
    with pytest.raises(MidasError, match=r"t\.csv\.gz: (is not a table|has no columns)"):
        load_table(tmp_path / "t.csv.gz")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + b"".join(chunks) + chunk(b"IEND", b"")


def postscript() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "EPS")
    return file.getvalue()


HOSTILE_IMAGES = {
    "bomb.png": png(60_000, 60_000),
    "half.png": png(10_000, 10_000),  # of which Pillow only warns
    "text.png": png(4, 4, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))),
    "program.png": postscript(),  # Pillow would start Ghostscript
    "thread.png": png(1, 80_000_000),
    "script.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
}


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("L", (8, 8), 40 * i + k).save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


@pytest.mark.parametrize("name", HOSTILE_IMAGES)
def test_a_hostile_image_is_named_and_nothing_is_written(name: str, pets: Path) -> None:
    (pets / "cat" / name).write_bytes(HOSTILE_IMAGES[name])
    with pytest.raises(DataError, match=f"1 of 9 images cannot be read: cat/{name}"):
        prepare(DataConfig(source="folder", root=str(pets), image_size=8), pets.parent / "out")
    assert not [*(pets.parent / "out").rglob("*")]


@pytest.mark.parametrize("name", HOSTILE_IMAGES)
@pytest.mark.filterwarnings("default")  # as outside the tests
def test_a_hostile_image_is_one_line_of_predict(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(HOSTILE_IMAGES[name])
    assert predict.main([str(tiny_onnx(tmp_path / "m.onnx")), str(tmp_path / name)]) == 1
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert ("bomb" in err) == (name in ("bomb.png", "half.png"))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_or_a_device_among_the_images_does_not_hang(
    make: Callable[[Path], None], pets: Path
) -> None:
    make(pets / "cat" / "endless.png")
    with pytest.raises(DataError, match=r"cat/endless\.png \(it is not a regular file\)"):
        prepare(DataConfig(source="folder", root=str(pets), image_size=8), pets.parent / "out")


def test_a_folder_that_links_to_itself_is_read_once(pets: Path) -> None:
    (pets / "cat" / "again").symlink_to(pets / "cat")
    config = DataConfig(source="folder", root=str(pets), image_size=8)
    assert sum(prepare(config, pets.parent / "out").counts.values()) == 8


@pytest.mark.parametrize("names", [[b"\xff\xfe", b"ok"], [b"  ", b"ok"]])
def test_a_class_folder_whose_name_is_no_text_is_named(names: list[bytes], tmp_path: Path) -> None:
    for name in names:
        folder = tmp_path / "x" / os.fsdecode(name)
        folder.mkdir(parents=True)
        for i in range(3):
            Image.new("L", (8, 8), i).save(folder / f"{i}.png")
    with pytest.raises(DataError, match="is empty or no valid text") as caught:
        prepare(
            DataConfig(source="folder", root=str(tmp_path / "x"), image_size=8), tmp_path / "out"
        )
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("overlong", [False, True])
def test_an_onnx_file_cannot_read_another_file(overlong: bool, tmp_path: Path) -> None:
    path = onnx_with_external_weight(tmp_path, overlong)
    with pytest.raises(predict.PredictError, match="keeps weights in another file"):
        predict.load_model(path)
    with pytest.raises(ParityError, match="keeps weights in another file"):
        run_onnx(path, torch.zeros(4), 1)
    with pytest.raises(ParityError, match="keeps weights in another file"):
        check_structure(path, PLAIN, (3, 8, 8))
