"""Drawings as files: SVG directly, PNG and PDF by vl-convert, which needs no system library."""

import os
import re
from pathlib import Path

from midas.drawing.svg import draw_svg
from midas.genotype import Genotype, load_genotype
from midas.io import files
from midas.io.errors import MidasError

PNG_SCALE = 2.0  # pixels per unit of the drawing
SUFFIXES = (".svg", ".png", ".pdf")


def find_genotype(text: str) -> Genotype:
    """Read a genotype as text, a file, a model folder, or a published cell's name."""
    # os.path, since Path's methods raise where a genotype's text is too long for a file name
    if os.path.isdir(text):  # noqa: PTH112
        return load_genotype(Path(text) / "genotype.json")
    if not text.isidentifier() or os.path.exists(text):  # noqa: PTH110
        return load_genotype(text)
    from midas.zoo.registry import ZOO

    name = re.sub(r"^midas_(\w+)_(cifar|imagenet)$", r"\1", text)  # a model's name in timm
    if name not in ZOO:
        published = ", ".join(ZOO)
        raise MidasError(f"draw: no file and no published cell {name!r}; published are {published}")
    return Genotype.from_value(ZOO[name]["genotype"], name)


def write_picture(path: Path, genotype: Genotype) -> None:
    """Draw a genotype's cells into an .svg, .png or .pdf file; MidasError where that cannot be."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise MidasError(f"{path}: cannot write {suffix!r} files; use {', '.join(SUFFIXES)}")
    svg = draw_svg(genotype)
    if suffix == ".svg":
        files.write_text(path, svg)
        return
    try:
        import vl_convert
    except ImportError as error:
        raise MidasError(
            f"{suffix} files need vl-convert: run `pip install 'midas-nas[draw]'`, or write an .svg"
        ) from error
    is_pdf = suffix == ".pdf"
    picture = vl_convert.svg_to_pdf(svg) if is_pdf else vl_convert.svg_to_png(svg, scale=PNG_SCALE)
    files.write_bytes(path, bytes(picture))
