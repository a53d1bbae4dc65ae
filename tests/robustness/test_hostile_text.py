"""Names are text: not HTML, not a terminal's control sequences, not another row of a table."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from markupsafe import Markup
from PIL import Image
from tiny_onnx import SIDE, tiny_onnx

from midas.data.prepared import DataMeta
from midas.deploy import predict
from midas.deploy.serving import write_triton, write_web
from midas.genotype import Genotype
from midas.io import files
from midas.io.errors import GenotypeError, MidasError
from midas.nets.build import build_network
from midas.zoo.card import model_card
from midas.zoo.registry import ZOO
from pipeline.report import charts
from pipeline.report.values import Sources

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
    # the broken image, and the model itself among what is passed over
    assert (out.count("\n"), err.count("\n")) == (2, 2)
    assert all(line.isprintable() for line in [*out.splitlines(), *err.splitlines()])


def test_triton_gets_a_label_a_line_and_no_foreign_text_in_its_configuration(
    tmp_path: Path,
) -> None:
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
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", page
    )


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
    meta = DataMeta(
        classes, 8, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), {"train": 2}, "f", "npz", resize, 0
    )
    genotype = Genotype.from_value(ZOO["darts_v2"]["genotype"])
    metrics = {"best_val_accuracy": 0.5, "best_epoch": 1, "epochs": 1}
    card = model_card(
        "m",
        build_network(genotype, num_classes=4, channels=2, cells=2),
        genotype,
        meta,
        metrics,
        {},
    )
    assert Tags(card).found == []
    (row,) = [line for line in card.splitlines() if line.startswith("| classes |")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert not re.findall(r"(?<!\\)[`\[]", row)


def test_a_genotype_cannot_hold_what_a_drawing_would_have_to_escape() -> None:
    edges = [["skip_connect", 0, 2]]
    for value in (
        {"schema": 1, "space": EVIL, "cells": {"normal": {"edges": edges, "concat": [2]}}},
        {"schema": 1, "space": "darts", "cells": {EVIL: {"edges": edges, "concat": [2]}}},
        {
            "schema": 1,
            "space": "darts",
            "cells": {"normal": {"edges": [[EVIL, 0, 2]], "concat": [2]}},
        },
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
        charts.thumbnail(image, evil),
        sources.count("p.csv", actual=evil),
        charts.patch_map(image, cell, colours, evil, Markup("")),
    ):
        assert "script" not in Tags(str(text)).found
    assert 'value="1"' in sources.count("p.csv", actual=CONTROL), (
        "line separators in a name end no row"
    )
