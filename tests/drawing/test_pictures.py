"""Drawings as files, of every kind and from every name of a cell, and in notebooks."""

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from midas.drawing.pictures import find_genotype, write_picture
from midas.drawing.svg import draw_svg, show
from midas.genotype import Genotype, save_genotype
from midas.io.errors import MidasError

ARCH = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


def test_a_file_a_folder_an_arch_string_and_a_published_name_all_name_a_cell(
    tmp_path: Path,
) -> None:
    cell = Genotype.from_arch(ARCH)
    save_genotype(tmp_path / "genotype.json", cell)
    for text in (ARCH, str(tmp_path), str(tmp_path / "genotype.json")):
        assert find_genotype(text) == cell
    assert find_genotype("darts_v2").space == "darts"
    for name in ("midas_darts_v2_cifar", "midas_darts_v2_imagenet"):
        assert find_genotype(name) == find_genotype("darts_v2")
    json_text = find_genotype("darts_v2").to_json()  # longer than a file's name may be
    assert find_genotype(json_text) == find_genotype("darts_v2")


def test_an_unknown_name_lists_the_published_cells() -> None:
    with pytest.raises(MidasError, match=r"no published cell 'darts_v9'; published are .*darts_v2"):
        find_genotype("darts_v9")


def test_an_svg_is_xml_a_png_is_twice_as_large_and_a_pdf_is_a_pdf(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="vl-convert is not installed")
    cell = find_genotype("darts_v2")
    for kind in ("svg", "png", "pdf"):
        write_picture(tmp_path / f"cell.{kind}", cell)
    root = ElementTree.parse(tmp_path / "cell.svg").getroot()
    picture = Image.open(io.BytesIO((tmp_path / "cell.png").read_bytes()))
    assert picture.size == pytest.approx(
        (2 * float(root.attrib["width"]), 2 * float(root.attrib["height"])), abs=2
    )
    colours = set(picture.convert("RGB").resize((64, 64)).get_flattened_data())
    assert len(colours) > 50, "something is drawn"
    assert (tmp_path / "cell.pdf").read_bytes().startswith(b"%PDF-")


def test_another_suffix_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(MidasError, match=r"cannot write '\.gif' files; use \.svg, \.png"):
        write_picture(tmp_path / "cell.gif", find_genotype("darts_v2"))
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_displays_a_shown_genotype_as_its_drawing() -> None:
    cell = find_genotype("darts_v2")
    assert show(cell)._repr_svg_() == draw_svg(cell)
