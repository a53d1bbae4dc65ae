"""Where the parts of a cell's picture lie: a layered drawing from left to right (Sugiyama, Tagawa, Toda 1981).

Columns of nodes alternate with columns of labels. Each chosen edge becomes a chain of items, one in each column it
passes: its label in the column just before its target, a bend in every other. Items of a column never overlap, and
lines are curved only between columns: so, by construction, no label, node or line lies on another's box.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from statistics import fmean

from midas.genotype import CellGenotype

NODE, LABEL_HEIGHT, BEND = 34.0, 22.0, 6.0  # heights in pixels; a node is as wide as high
CHARACTER, LABEL_PADDING = 6.8, 8.0  # advance of an 11 px monospaced letter, and the space at a label's ends
GAP_X, GAP_Y = 34.0, 10.0  # the least free space between columns, and between items of a column
ORDER_SWEEPS, PLACE_SWEEPS = 12, 60
STRAIGHT = 6.0  # how much more a link between bends and labels weighs


@dataclass
class Box:
    """One item: a node, a label, or the bend of a passing line. `x`, `y` are its centre, all in pixels."""

    kind: str  # node, label or bend
    text: str
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Line:
    """A chain of boxes that one line joins, from left to right; `op` is None where it joins a node to the output."""

    op: str | None
    boxes: tuple[Box, ...]


@dataclass
class CellLayout:
    """A cell with every part in its place, its top left corner at (0, 0)."""

    columns: dict[int, list[Box]] = field(default_factory=lambda: defaultdict(list))
    lines: list[Line] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0

    def boxes(self) -> list[Box]:
        """Nodes and labels: what must not overlap."""
        return [box for column in self.columns.values() for box in column if box.kind != "bend"]


def layout_cell(cell: CellGenotype, inputs: int, names: dict[int, str], output: str) -> CellLayout:
    """Place a cell's nodes, labels and lines.

    Args:
        cell: the chosen edges and joined nodes.
        inputs: how many of the first nodes are the cell's inputs.
        names: what is written into nodes; others show their number.
        output: what is written into the output node.
    """
    layout = _chains(cell, inputs, names, output)
    links = [link for line in layout.lines for link in pairwise(line.boxes)]
    _order(layout.columns, links)
    _place_columns(layout)
    _place_rows(layout, links)
    return layout


def _ranks(cell: CellGenotype, inputs: int) -> dict[int, int]:
    """For each node the number of edges on the longest way to it."""
    ranks = dict.fromkeys(range(inputs), 0)
    for edge in cell.edges:  # ordered by target, and every edge goes forward
        ranks[edge.target] = max(ranks.get(edge.target, 0), ranks.setdefault(edge.source, 0) + 1)
    return ranks


def _chains(cell: CellGenotype, inputs: int, names: dict[int, str], output: str) -> CellLayout:
    """All boxes in their columns and the chains that join them; rank r stands in column 2r, labels in between."""
    layout = CellLayout()

    def add(column: int, kind: str, text: str, width: float, height: float) -> Box:
        layout.columns[column].append(Box(kind, text, width, height))
        return layout.columns[column][-1]

    def chain(op: str | None, start: Box, first: int, end: Box, last: int) -> None:
        inner = [
            add(column, "label", op, len(op) * CHARACTER + 2 * LABEL_PADDING, LABEL_HEIGHT)
            if op is not None and column == last - 1
            else add(column, "bend", "", 0.0, BEND)
            for column in range(first + 1, last)
        ]
        layout.lines.append(Line(op, (start, *inner, end)))

    ranks = _ranks(cell, inputs)
    nodes = {n: add(2 * rank, "node", names.get(n, str(n)), NODE, NODE) for n, rank in sorted(ranks.items())}
    for edge in cell.edges:
        chain(edge.op, nodes[edge.source], 2 * ranks[edge.source], nodes[edge.target], 2 * ranks[edge.target])
    end = 2 * max(ranks.values()) + 1  # no labels stand before the output
    out = add(end, "node", output, NODE, NODE)
    for node in cell.concat:
        chain(None, nodes[node], 2 * ranks[node], out, end)
    return layout


def _order(columns: dict[int, list[Box]], links: Sequence[tuple[Box, Box]]) -> None:
    """Sort each column by where its neighbours stand, sweeping right and left; keep the order with fewest crossings."""
    before, after = _neighbours(links)
    best, fewest = {c: list(boxes) for c, boxes in columns.items()}, _crossings(columns, links)
    for sweep in range(ORDER_SWEEPS):
        near = before if sweep % 2 == 0 else after
        for column in sorted(columns, reverse=sweep % 2 == 1):
            columns[column] = _by_neighbours(columns[column], near, _positions(columns))
        if (crossings := _crossings(columns, links)) < fewest:
            best, fewest = {c: list(boxes) for c, boxes in columns.items()}, crossings
    columns.update(best)


def _by_neighbours(boxes: list[Box], near: dict[int, list[Box]], index: dict[int, float]) -> list[Box]:
    """A column's boxes in the order of the mean place of their neighbours; equal ones stay as they were."""
    return sorted(boxes, key=lambda box: fmean(index[id(other)] for other in near[id(box)] or [box]))


def _neighbours(links: Sequence[tuple[Box, Box]]) -> tuple[dict[int, list[Box]], dict[int, list[Box]]]:
    """For each box (by its id) those that lines join it to on its left, and on its right."""
    before: dict[int, list[Box]] = defaultdict(list)
    after: dict[int, list[Box]] = defaultdict(list)
    for left, right in links:
        before[id(right)].append(left)
        after[id(left)].append(right)
    return before, after


def _positions(columns: dict[int, list[Box]]) -> dict[int, float]:
    """Each box's place in its column, from 0 to 1, so that columns of unequal length compare."""
    return {id(box): (k + 0.5) / len(boxes) for boxes in columns.values() for k, box in enumerate(boxes)}


def _crossings(columns: dict[int, list[Box]], links: Sequence[tuple[Box, Box]]) -> int:
    """How many pairs of lines cross between two neighbouring columns."""
    index, column = _positions(columns), {id(box): c for c, boxes in columns.items() for box in boxes}
    ends = sorted((column[id(a)], index[id(a)], index[id(b)]) for a, b in links)
    return sum(a[0] == b[0] and (a[1] - b[1]) * (a[2] - b[2]) < 0 for k, a in enumerate(ends) for b in ends[k + 1 :])


def _place_columns(layout: CellLayout) -> None:
    """Horizontal places: each column is as wide as its widest box, and so are its other boxes."""
    x = 0.0
    for column in sorted(layout.columns):
        width = max(box.width for box in layout.columns[column])
        for box in layout.columns[column]:
            box.x, box.width = x + width / 2, width  # so a line is straight across the whole column
        x += width + GAP_X
    layout.width = x - GAP_X


def _place_rows(layout: CellLayout, links: Sequence[tuple[Box, Box]]) -> None:
    """Vertical places: each box near the mean of its neighbours, as far as the order and the free space allow."""
    before, after = _neighbours(links)
    for sweep in range(PLACE_SWEEPS):
        for column in sorted(layout.columns, reverse=sweep % 2 == 1):
            boxes = layout.columns[column]
            wanted = [_pull(box, [*before[id(box)], *after[id(box)]]) for box in boxes]
            gaps = [(a.height + b.height) / 2 + GAP_Y for a, b in pairwise(boxes)]
            for box, y in zip(boxes, spaced(wanted, gaps), strict=True):
                box.y = y
    everything = [box for boxes in layout.columns.values() for box in boxes]
    top = min(box.y - box.height / 2 for box in everything)
    for box in everything:
        box.y -= top
    layout.height = max(box.y + box.height / 2 for box in everything)


def spaced(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The places nearest to those wanted (least squares) that keep their order and the gaps between them.

    Without the gaps this is isotonic regression, solved by pooling adjacent violators; subtracting the gaps' running
    sum brings it to that form.
    """
    offsets = list(accumulate(gaps, initial=0.0))
    pools: list[tuple[float, int]] = []  # (mean, how many)
    for place, offset in zip(wanted, offsets, strict=True):
        pools.append((place - offset, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n), (b, m) = pools.pop(-2), pools.pop()
            pools.append(((a * n + b * m) / (n + m), n + m))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _pull(box: Box, neighbours: Sequence[Box]) -> float:
    """Where its neighbours pull a box: to their mean, where links that touch no node weigh more, to be straight."""
    weights = [1.0 if "node" in (box.kind, neighbour.kind) else STRAIGHT for neighbour in neighbours]
    total = sum(weight * neighbour.y for weight, neighbour in zip(weights, neighbours, strict=True))
    return total / sum(weights) if weights else box.y
