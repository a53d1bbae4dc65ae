"""The picture of a genotype's cells: one SVG, the same bytes for the same genotype, for light and dark pages."""

from itertools import pairwise
from xml.sax.saxutils import escape

from midas.genotype import CellGenotype, Genotype
from midas.report.layout import Box, CellLayout, Line, layout_cell
from midas.spaces import SPACES

MARGIN, TITLE, BETWEEN = 24.0, 30.0, 30.0  # pixels: round the card, above a cell for its title, between two cells
HEAD = 7.0  # length of an arrow's head in pixels
MINUS = "\N{MINUS SIGN}"
INK, FAINT = "#2b2f36", "#9aa1ab"
SERIF, MONO = "Georgia, 'DejaVu Serif', serif", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
# (how an operation's name begins, fill of its label, border of its label); the first that fits is taken
COLOURS = (
    ("sep_conv", "#e3edfb", "#5b8bd0"),
    ("nor_conv", "#e3edfb", "#5b8bd0"),
    ("dil_conv", "#ece5f8", "#8d6cc4"),
    ("skip", "#e2f3e6", "#57a06b"),
    ("max_pool", "#fdf0da", "#d09a3c"),
    ("avg_pool", "#fdf0da", "#d09a3c"),
    ("", "#f1f2f4", FAINT),
)
TITLES = {"reduce": "reduction cell"}
# the variables of the report's style sheet that stand for the colours of a standalone picture
PAPER = {"#ffffff": "card", INK: "ink", FAINT: "faint"} | {
    colour: f"{part}-{start or 'other'}"
    for start, fill, border in reversed(COLOURS)
    for colour, part in ((fill, "fill"), (border, "border"))
    if colour != FAINT
}


def draw_svg(genotype: Genotype) -> str:
    """All cells of a genotype, one below the other, as an SVG document.

    Inputs stand on the left and the output on the right; nodes carry their numbers, every chosen edge its operation.
    Thin grey lines lead from the joined nodes to the output; edges of the operation `none` are dashed.
    """
    layouts = {kind: _layout(genotype, cell) for kind, cell in genotype.cells.items()}
    width = max(layout.width for layout in layouts.values()) + 2 * MARGIN
    body, y = [], MARGIN
    for kind, layout in layouts.items():
        x = (width - layout.width) / 2
        body.append(_title(TITLES.get(kind, kind if kind == "cell" else f"{kind} cell"), y))
        body.append(f'<g transform="translate({x:.1f} {y + TITLE:.1f})">\n{_cell(layout)}\n</g>')
        y += TITLE + layout.height + BETWEEN
    height = y - BETWEEN + MARGIN
    return "\n".join([_opening(genotype, width, height), *body, "</svg>", ""])


def draw_inline(genotype: Genotype) -> str:
    """The same picture for an HTML page: its colours are the page's variables, so that they follow light and dark."""
    text = draw_svg(genotype)
    for colour, name in PAPER.items():
        text = text.replace(f'"{colour}"', f'"var(--{name})"')
    return text


def cell_layouts(genotype: Genotype) -> dict[str, CellLayout]:
    """Where everything lies in each cell's picture, in pixels from the cell's own corner."""
    return {kind: _layout(genotype, cell) for kind, cell in genotype.cells.items()}


def _layout(genotype: Genotype, cell: CellGenotype) -> CellLayout:
    """A cell's layout; with two inputs they are the outputs of the two cells before, as in DARTS."""
    space = SPACES.get(genotype.space)
    inputs = space.inputs if space else min(edge.target for edge in cell.edges)
    if inputs == 2:
        return layout_cell(cell, inputs, {0: f"c_k{MINUS}2", 1: f"c_k{MINUS}1"}, "c_k")
    return layout_cell(cell, inputs, {0: "in"} if inputs == 1 else {}, "out")


def _opening(genotype: Genotype, width: float, height: float) -> str:
    """The document's start: size, title for those who cannot see it, and a white card."""
    title = escape(f"Cells of a genotype of the space {genotype.space}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.1f} {height:.1f}" role="img">\n<title>{title}</title>\n'
        f'<rect width="100%" height="100%" rx="10" fill="#ffffff"/>'
    )


def _title(text: str, y: float) -> str:
    """A cell's title at the card's left."""
    return (
        f'<text x="{MARGIN:.1f}" y="{y + 10:.1f}" font-family="{SERIF}" font-size="14" font-style="italic" '
        f'fill="{INK}">{escape(text)}</text>'
    )


def _cell(layout: CellLayout) -> str:
    """Lines first, so that nodes and labels lie on them."""
    lines = sorted(layout.lines, key=lambda line: line.op is not None)
    return "\n".join([*map(_line, lines), *(_node(b) if b.kind == "node" else _label(b) for b in layout.boxes())])


def _line(line: Line) -> str:
    """A line through its boxes, curved between columns and straight across them, with an arrow's head at its end."""
    colour, width = (INK, 1.4) if line.op not in (None, "none") else (FAINT, 0.9)
    dash = ' stroke-dasharray="4 3"' if line.op == "none" else ""
    end = line.boxes[-1]
    tip = end.x - end.width / 2
    head = f"M{tip:.1f} {end.y:.1f}l{-HEAD:.1f} {-HEAD / 2:.1f}v{HEAD:.1f}z"
    return (
        f'<path d="{_path(line.boxes)}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'
        f'<path d="{head}" fill="{colour}"/>'
    )


def _path(boxes: tuple[Box, ...]) -> str:
    """SVG path data of a line through its boxes; it ends inside the arrow's head."""
    x = boxes[0].x + boxes[0].width / 2
    parts = [f"M{x:.1f} {boxes[0].y:.1f}"]
    for left, right in pairwise(boxes):
        end = right.x - right.width / 2 - (HEAD - 1 if right is boxes[-1] else 0)
        middle = (x + end) / 2
        parts.append(f"C{middle:.1f} {left.y:.1f} {middle:.1f} {right.y:.1f} {end:.1f} {right.y:.1f}")
        x = right.x + right.width / 2
        if right is not boxes[-1]:
            parts.append(f"H{x:.1f}")
    return "".join(parts)


def _node(box: Box) -> str:
    """A circle with its name; what follows an underscore is set as an index."""
    name, _, index = box.text.partition("_")
    below = f'<tspan dy="3" font-size="9">{escape(index)}</tspan>' if index else ""
    return (
        f'<circle cx="{box.x:.1f}" cy="{box.y:.1f}" r="{box.width / 2:.1f}" fill="#ffffff" stroke="{INK}" '
        f'stroke-width="1.4"/><text x="{box.x:.1f}" y="{box.y + 4:.1f}" font-family="{SERIF}" font-size="13" '
        f'text-anchor="middle" fill="{INK}">{escape(name)}{below}</text>'
    )


def _label(box: Box) -> str:
    """An operation's name on a rounded label, coloured by its family."""
    fill, border = next((fill, border) for start, fill, border in COLOURS if box.text.startswith(start))
    x, y = box.x - box.width / 2, box.y - box.height / 2
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="{box.height / 2:.1f}" '
        f'fill="{fill}" stroke="{border}"/><text x="{box.x:.1f}" y="{box.y + 3.8:.1f}" font-family="{MONO}" '
        f'font-size="11" text-anchor="middle" fill="{INK}">{escape(box.text)}</text>'
    )
