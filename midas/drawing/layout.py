"""Layout of a cell as a layered graph, from left to right (Sugiyama, Tagawa and Toda, 1981).

An edge is a chain with one box a column. Lines curve only between columns, so none crosses a box.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations, pairwise
from statistics import fmean
from typing import NamedTuple

from midas.genotype import CellGenotype

NODE = 34.0  # width and height of a node, in pixels as all lengths here
HEIGHTS = {"node": NODE, "label": 22.0, "bend": 6.0}
LABEL_PADDING = 8.0  # space at each end of a label
CHARACTER = 6.8  # advance of an 11 px monospaced letter
GAP_X = 34.0  # free space between columns
GAP_Y = 10.0  # least free space between the boxes of a column
ORDER_SWEEPS = 12
PLACE_SWEEPS = 60
STRAIGHT = 6.0  # weight of a link between bends and labels, where a link to a node weighs 1


@dataclass(eq=False)
class Box:
    """A node, a label, or the bend of a passing line; `x` and `y` are its centre."""

    kind: str
    text: str
    column: int
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    left: list["Box"] = field(default_factory=list, repr=False)  # linked, in the column before
    right: list["Box"] = field(default_factory=list, repr=False)


class Line(NamedTuple):
    """A chain of boxes, from left to right; `op` is None for a line from a node to the output."""

    op: str | None
    boxes: tuple[Box, ...]


@dataclass
class CellLayout:
    """The boxes and lines of a cell, in pixels from its top left corner."""

    columns: dict[int, list[Box]] = field(default_factory=lambda: defaultdict(list))
    lines: list[Line] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0

    def boxes(self) -> list[Box]:
        """Nodes and labels, which must not overlap."""
        return [box for column in self.columns.values() for box in column if box.kind != "bend"]

    def add(self, kind: str, text: str, column: int) -> Box:
        """Put a new box at the end of a column."""
        widths = {"node": NODE, "label": len(text) * CHARACTER + 2 * LABEL_PADDING, "bend": 0.0}
        self.columns[column].append(Box(kind, text, column, widths[kind], HEIGHTS[kind]))
        return self.columns[column][-1]

    def connect(self, op: str | None, start: Box, end: Box) -> None:
        """Add a line between two nodes, with a label just before its end if it has an operation."""
        stop = end.column - 1 if op else end.column
        bends = [self.add("bend", "", column) for column in range(start.column + 1, stop)]
        label = [self.add("label", op, stop)] if op else []
        self.lines.append(Line(op, (start, *bends, *label, end)))
        for left, right in pairwise(self.lines[-1].boxes):
            left.right.append(right)
            right.left.append(left)


def layout_cell(cell: CellGenotype, inputs: int, names: dict[int, str], output: str) -> CellLayout:
    """Lay out a cell; a node without a text in `names` shows its number."""
    layout = CellLayout()
    ranks = dict.fromkeys(range(inputs), 0)  # the number of edges on the longest path to each node
    for edge in cell.edges:  # sorted by target, and every edge leads to a higher node
        ranks[edge.target] = max(ranks.get(edge.target, 0), ranks.setdefault(edge.source, 0) + 1)
    nodes = {  # those of rank r stand in column 2r, with labels between them
        node: layout.add("node", names.get(node, str(node)), 2 * rank)
        for node, rank in sorted(ranks.items())
    }
    for edge in cell.edges:
        layout.connect(edge.op, nodes[edge.source], nodes[edge.target])
    out = layout.add("node", output, 2 * max(ranks.values()) + 1)  # no labels before the output
    for node in cell.concat:
        layout.connect(None, nodes[node], out)
    _order(layout.columns)
    _place_columns(layout)
    _place_rows(layout)
    return layout


def _order(columns: dict[int, list[Box]]) -> None:
    """Sort each column by the positions of its neighbours; keep the order with fewest crossings."""
    orders = [dict(columns)]
    for sweep in range(ORDER_SWEEPS):
        side = "right" if sweep % 2 else "left"  # the columns that this sweep has just sorted
        for column in sorted(columns, reverse=side == "right"):
            positions = _positions(columns)
            columns[column] = sorted(
                columns[column],  # by their barycentres, or their own positions without neighbours
                key=lambda box: fmean(positions[other] for other in getattr(box, side) or [box]),
            )
        orders.append(dict(columns))
    best = min(orders, key=_count_crossings)
    columns.update(best)


def _positions(columns: dict[int, list[Box]]) -> dict[Box, float]:
    """Each box's position in its column, from 0 to 1, which compares across columns."""
    return {
        box: (k + 0.5) / len(boxes) for boxes in columns.values() for k, box in enumerate(boxes)
    }


def _count_crossings(columns: dict[int, list[Box]]) -> int:
    positions = _positions(columns)
    crossings = 0
    for boxes in columns.values():
        links = [(positions[box], positions[other]) for box in boxes for other in box.right]
        crossings += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(links, 2))
    return crossings


def _place_columns(layout: CellLayout) -> None:
    """Set x, and widen every box to its column, so that a line runs straight through the column."""
    x = 0.0
    for _, boxes in sorted(layout.columns.items()):
        width = max(box.width for box in boxes)
        for box in boxes:
            box.x = x + width / 2
            box.width = width
        x += width + GAP_X
    layout.width = x - GAP_X


def _place_rows(layout: CellLayout) -> None:
    """Set y: each box near its neighbours, in the order and with the gaps of its column."""
    for sweep in range(PLACE_SWEEPS):
        for _, boxes in sorted(layout.columns.items(), reverse=sweep % 2 == 1):
            preferred = [_preferred_y(box) for box in boxes]
            gaps = [(above.height + below.height) / 2 + GAP_Y for above, below in pairwise(boxes)]
            for box, y in zip(boxes, keep_gaps(preferred, gaps), strict=True):
                box.y = y
    all_boxes = [box for boxes in layout.columns.values() for box in boxes]
    top = min(box.y - box.height / 2 for box in all_boxes)
    for box in all_boxes:
        box.y -= top
    layout.height = max(box.y + box.height / 2 for box in all_boxes)


def _preferred_y(box: Box) -> float:
    """The weighted mean y of a box's neighbours; links that touch no node weigh more."""
    neighbours = [*box.left, *box.right]
    weights = [1.0 if "node" in (box.kind, other.kind) else STRAIGHT for other in neighbours]
    total = sum(weight * other.y for weight, other in zip(weights, neighbours, strict=True))
    return total / sum(weights) if weights else box.y


def keep_gaps(preferred: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The nearest positions to those preferred (least squares), in order and with these gaps."""
    # without the cumulative gaps this is isotonic regression, by pooling adjacent violators
    offsets = list(accumulate(gaps, initial=0.0))
    blocks: list[tuple[float, int]] = []  # (mean, number of positions)
    for position, offset in zip(preferred, offsets, strict=True):
        blocks.append((position - offset, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            mean_before, count_before = blocks.pop()
            total = mean_before * count_before + mean * count
            blocks.append((total / (count_before + count), count_before + count))
    means = [mean for mean, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
