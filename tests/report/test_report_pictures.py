"""Pictures as files: whatever names a cell, in each of the three forms; and in notebooks."""

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from midas.genotype import Genotype, save_genotype
from midas.report.drawing import draw_svg
from midas.report.pictures import find_genotype, write_picture
from midas.runs.errors import MidasError

ARCH = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


def test_a_cell_is_found_by_file_by_folder_by_arch_string_and_by_published_name(tmp_path: Path) -> None:
    cell = Genotype.from_arch(ARCH)
    save_genotype(tmp_path / "genotype.json", cell)
    assert find_genotype(ARCH) == find_genotype(str(tmp_path)) == find_genotype(str(tmp_path / "genotype.json")) == cell
    assert find_genotype("darts_v2").space == "darts"
    assert (
        find_genotype("midas_darts_v2_cifar") == find_genotype("midas_darts_v2_imagenet") == find_genotype("darts_v2")
    )
    assert find_genotype(find_genotype("darts_v2").to_json()) == find_genotype("darts_v2"), "longer than a file's name"


def test_an_unknown_name_lists_the_published_cells() -> None:
    with pytest.raises(MidasError, match=r"no published cell 'darts_v9'; published are .*darts_v2"):
        find_genotype("darts_v9")


def test_an_svg_is_xml_a_png_has_twice_its_size_and_a_pdf_is_one(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="vl-convert is not installed")
    cell = find_genotype("darts_v2")
    for kind in ("svg", "png", "pdf"):
        write_picture(tmp_path / f"cell.{kind}", cell)
    root = ElementTree.parse(tmp_path / "cell.svg").getroot()
    picture = Image.open(io.BytesIO((tmp_path / "cell.png").read_bytes()))
    assert picture.size == pytest.approx((2 * float(root.attrib["width"]), 2 * float(root.attrib["height"])), abs=2)
    assert len(set(picture.convert("RGB").resize((64, 64)).get_flattened_data())) > 50, "something is drawn"
    assert (tmp_path / "cell.pdf").read_bytes().startswith(b"%PDF-")


def test_another_suffix_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(MidasError, match=r"ends in \.svg, \.png, \.pdf"):
        write_picture(tmp_path / "cell.gif", find_genotype("darts_v2"))
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_a_genotype_as_its_picture() -> None:
    cell = find_genotype("darts_v2")
    assert cell._repr_svg_() == draw_svg(cell)
