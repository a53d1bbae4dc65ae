"""Cell drawings as files: SVG as it is, PNG and PDF by vl-convert, which needs no system library."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from midas.genotype import Genotype, load_genotype
from midas.report.drawing import draw_svg
from midas.runs import files
from midas.runs.errors import MidasError

PNG_SCALE = 2.0  # pixels of the picture for each of the drawing
KINDS = (".svg", ".png", ".pdf")


def find_genotype(text: str) -> Genotype:
    """A genotype by what a person has at hand.

    Args:
        text: an arch string, a genotype's JSON or its printed form, a file, a model folder, or the name of a published
            cell, e.g. ``darts_v2``.

    Raises:
        GenotypeError: it is none of these.
        MidasError: it looks like a name and no published cell has it.
    """
    if os.path.isdir(text):  # noqa: PTH112 - a genotype's text is too long for a name, of which Path's raises
        return load_genotype(Path(text) / "genotype.json")
    if text.isidentifier() and not os.path.exists(text):  # noqa: PTH110 - likewise
        from midas.nets.registry import ZOO

        text = re.sub(r"^midas_(\w+)_(cifar|imagenet)$", r"\1", text)  # as `midas zoo` and timm name it
        if text not in ZOO:
            raise MidasError(f"draw: there is no file and no published cell {text!r}; published are {', '.join(ZOO)}")
        return Genotype.from_value(ZOO[text]["genotype"], text)
    return load_genotype(text)


def write_picture(path: Path, genotype: Genotype) -> None:
    """Draw a genotype's cells into a file, whole or not at all; its suffix says in which form.

    Raises:
        MidasError: the suffix is none of .svg, .png and .pdf, or vl-convert is not installed.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise MidasError(f"{path}: a picture ends in {', '.join(KINDS)}")
    svg = draw_svg(genotype)
    files.write_bytes(path, svg.encode() if kind == ".svg" else _converter(kind)(svg))


def _converter(kind: str) -> Callable[[str], bytes]:
    try:
        import vl_convert
    except ImportError as error:
        raise MidasError(f"{kind} pictures need vl-convert: pip install 'midas-nas[draw]', or draw an .svg") from error
    if kind == ".pdf":
        return lambda svg: bytes(vl_convert.svg_to_pdf(svg))
    return lambda svg: bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))
