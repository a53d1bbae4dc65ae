"""SVG drawings of a genotype's cells: equal genotypes give equal bytes."""

from itertools import pairwise
from typing import NamedTuple
from xml.sax.saxutils import escape

from midas.drawing.layout import Box, CellLayout, Line, layout_cell
from midas.genotype import Genotype
from midas.spaces import SPACES

MARGIN = 24.0  # pixels around the drawing
TITLE = 30.0  # height of a cell's title
BETWEEN = 30.0  # space between two cells
HEAD = 7.0  # length of an arrowhead
MINUS = "\N{MINUS SIGN}"
CARD = "#ffffff"
INK = "#2b2f36"
FAINT = "#9aa1ab"
SERIF = "Georgia, 'DejaVu Serif', serif"
MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
# Names of inputs and output by the number of inputs; two are the previous cells, as in DARTS.
ENDS = {1: (("in",), "out"), 2: ((f"c_k{MINUS}2", f"c_k{MINUS}1"), "c_k")}
TITLES = {"cell": "cell", "reduce": "reduction cell"}
# Families of operations: (prefixes of their names, family, fill of the label, its border).
FAMILIES = (
    (("sep_conv", "nor_conv"), "conv", "#e3edfb", "#5b8bd0"),
    (("dil_conv",), "dilated", "#ece5f8", "#8d6cc4"),
    (("skip",), "skip", "#e2f3e6", "#57a06b"),
    (("max_pool", "avg_pool"), "pool", "#fdf0da", "#d09a3c"),
    (("",), "other", "#f1f2f4", FAINT),
)
# The variables of the report's style sheet that replace the colours of a standalone drawing.
VARIABLES = {
    **{fill: f"fill-{family}" for _, family, fill, _ in FAMILIES},
    **{border: f"border-{family}" for _, family, _, border in FAMILIES},
    **{CARD: "card", INK: "ink", FAINT: "faint"},
}


class CellPicture(NamedTuple):
    """A drawing that notebooks display."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg


def show(genotype: Genotype) -> CellPicture:
    """The drawing of a genotype's cells, for the last line of a notebook's cell."""
    return CellPicture(draw_svg(genotype))


def draw_svg(genotype: Genotype) -> str:
    """Draw all cells of a genotype, one below the other, as an SVG document.

    Thin grey lines lead from the concatenated nodes to the output. Edges with `none` are dashed.
    """
    layouts = cell_layouts(genotype)
    width = max(layout.width for layout in layouts.values()) + 2 * MARGIN
    parts = []
    y = MARGIN
    for kind, layout in layouts.items():
        x = (width - layout.width) / 2
        parts.append(
            f'<text x="{MARGIN:.1f}" y="{y + 10:.1f}" font-family="{SERIF}" font-size="14" '
            f'font-style="italic" fill="{INK}">{escape(TITLES.get(kind, f"{kind} cell"))}</text>'
        )
        parts.append(f'<g transform="translate({x:.1f} {y + TITLE:.1f})">\n{_cell(layout)}\n</g>')
        y += TITLE + layout.height + BETWEEN
    height = y - BETWEEN + MARGIN
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.1f} {height:.1f}" role="img">\n'
        f"<title>{escape(f'Cells of a genotype of the space {genotype.space}')}</title>\n"
        f'<rect width="100%" height="100%" rx="10" fill="{CARD}"/>'
    )
    return "\n".join([opening, *parts, "</svg>", ""])


def draw_inline(genotype: Genotype) -> str:
    """The same drawing for the report, whose CSS variables follow light and dark themes."""
    text = draw_svg(genotype)
    for colour, variable in VARIABLES.items():
        text = text.replace(f'"{colour}"', f'"var(--{variable})"')
    return text


def cell_layouts(genotype: Genotype) -> dict[str, CellLayout]:
    """The layout of each cell, by the cell's type."""
    space = SPACES.get(genotype.space)
    layouts = {}
    for kind, cell in genotype.cells.items():
        inputs = space.inputs if space else min(edge.target for edge in cell.edges)
        input_names, output = ENDS.get(inputs, ((), "out"))
        layouts[kind] = layout_cell(cell, inputs, dict(enumerate(input_names)), output)
    return layouts


def _cell(layout: CellLayout) -> str:
    lines = sorted(layout.lines, key=lambda line: line.op is not None)
    boxes = [_node(box) if box.kind == "node" else _label(box) for box in layout.boxes()]
    return "\n".join([*map(_line, lines), *boxes])


def _line(line: Line) -> str:
    colour, width = (INK, 1.4) if line.op not in (None, "none") else (FAINT, 0.9)
    dash = ' stroke-dasharray="4 3"' if line.op == "none" else ""
    end = line.boxes[-1]
    tip = end.x - end.width / 2
    head = f"M{tip:.1f} {end.y:.1f}l{-HEAD:.1f} {-HEAD / 2:.1f}v{HEAD:.1f}z"
    stroke = f'stroke="{colour}" stroke-width="{width}"{dash}'
    path = f'<path d="{_path(line.boxes)}" fill="none" {stroke}/>'
    return f'{path}<path d="{head}" fill="{colour}"/>'


def _path(boxes: tuple[Box, ...]) -> str:
    """SVG path data: curves between columns, straight lines across them, up to the arrowhead."""
    path = ""
    for left, right in pairwise(boxes):
        start = left.x + left.width / 2
        end = right.x - right.width / 2 - (HEAD - 1 if right is boxes[-1] else 0)
        middle = (start + end) / 2
        path += f"H{start:.1f}" if path else f"M{start:.1f} {left.y:.1f}"
        path += f"C{middle:.1f} {left.y:.1f} {middle:.1f} {right.y:.1f} {end:.1f} {right.y:.1f}"
    return path


def _node(box: Box) -> str:
    """A circle with the node's name; text after an underscore becomes a subscript."""
    name, _, index = box.text.partition("_")
    subscript = f'<tspan dy="3" font-size="9">{escape(index)}</tspan>' if index else ""
    return (
        f'<circle cx="{box.x:.1f}" cy="{box.y:.1f}" r="{box.width / 2:.1f}" fill="{CARD}" '
        f'stroke="{INK}" stroke-width="1.4"/><text x="{box.x:.1f}" y="{box.y + 4:.1f}" '
        f'font-family="{SERIF}" font-size="13" text-anchor="middle" fill="{INK}">'
        f"{escape(name)}{subscript}</text>"
    )


def _label(box: Box) -> str:
    fill, border = next(
        (fill, border) for prefixes, _, fill, border in FAMILIES if box.text.startswith(prefixes)
    )
    x = box.x - box.width / 2
    y = box.y - box.height / 2
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{box.height / 2:.1f}" fill="{fill}" stroke="{border}"/><text x="{box.x:.1f}" '
        f'y="{box.y + 3.8:.1f}" font-family="{MONO}" font-size="11" text-anchor="middle" '
        f'fill="{INK}">{escape(box.text)}</text>'
    )
