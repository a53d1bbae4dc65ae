"""Drawings of genotypes are complete, well-formed, reproducible, and free of overlaps."""

import random
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from midas.drawing.layout import Box, Line
from midas.drawing.svg import MINUS, cell_layouts, draw_svg
from midas.genotype import CellGenotype, Edge, Genotype
from midas.spaces import get_space

SVG = "{http://www.w3.org/2000/svg}"
DARTS_V2 = Genotype.from_lists(
    "darts",
    normal=[("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2)],
    normal_concat=[2, 3, 4, 5],
    reduce=[("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
            ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1)],
    reduce_concat=[2, 3, 4, 5],
)  # fmt: skip


def random_genotype(name: str, seed: int) -> Genotype:
    """A cell of each type with edges and operations drawn uniformly from the space."""
    space = get_space(name)
    rng = random.Random(seed)
    cells = {}
    for kind in space.edges:
        kept = [
            edge for node in space.nodes(kind) for edge in rng.sample(node, space.keep or len(node))
        ]
        edges = tuple(Edge(rng.choice(edge.candidates), edge.source, edge.target) for edge in kept)
        cells[kind] = CellGenotype(edges, space.concat)
    return Genotype(name, cells)


def apart(a: Box, b: Box) -> bool:
    """Whether two boxes do not even touch."""
    return abs(a.x - b.x) > (a.width + b.width) / 2 or abs(a.y - b.y) > (a.height + b.height) / 2


def points(line: Line) -> list[tuple[float, float]]:
    """Points along a line: on the cubic curve between columns, and at the middle of each bend."""
    result = [(box.x, box.y) for box in line.boxes[1:-1] if box.kind == "bend"]
    for left, right in pairwise(line.boxes):
        start = left.x + left.width / 2
        end = right.x - right.width / 2
        for t in (0.1, 0.3, 0.5, 0.7, 0.9):
            blend = 3 * t**2 - 2 * t**3  # both control points of a curve are level with its ends
            x = start + (end - start) * (1.5 * t * (1 - t) + t**3)
            result.append((x, left.y + (right.y - left.y) * blend))
    return result


def inside(point: tuple[float, float], box: Box) -> bool:
    return abs(point[0] - box.x) < box.width / 2 and abs(point[1] - box.y) < box.height / 2


@pytest.mark.parametrize("space", ["darts", "rdarts-s4", "nasbench201"])
def test_no_label_overlaps_another_label_a_node_or_a_line_of_another_edge(space: str) -> None:
    for seed in range(200):
        for layout in cell_layouts(random_genotype(space, seed)).values():
            boxes = layout.boxes()
            assert all(apart(a, b) for a, b in combinations(boxes, 2)), f"seed {seed}"
            for line in layout.lines:
                others = [box for box in boxes if box not in line.boxes]
                assert not any(inside(point, box) for point in points(line) for box in others), (
                    f"seed {seed}"
                )


@pytest.mark.parametrize("space", ["darts", "rdarts-s4", "nasbench201"])
def test_everything_lies_within_the_layout_and_lines_run_to_the_right(space: str) -> None:
    for layout in cell_layouts(random_genotype(space, 0)).values():
        for box in layout.boxes():
            assert box.width / 2 - 1e-6 <= box.x <= layout.width - box.width / 2 + 1e-6
            assert box.height / 2 - 1e-6 <= box.y <= layout.height - box.height / 2 + 1e-6
        assert all(
            left.x < right.x for line in layout.lines for left, right in pairwise(line.boxes)
        )


def test_every_edge_has_a_label_and_every_concatenated_node_a_line_to_the_output() -> None:
    for kind, layout in cell_layouts(DARTS_V2).items():
        cell = DARTS_V2.cells[kind]
        names = {f"c_k{MINUS}2": 0, f"c_k{MINUS}1": 1}
        drawn = [
            (line.op, names.get(line.boxes[0].text, line.boxes[0].text), line.boxes[-1].text)
            for line in layout.lines
        ]
        edges = [
            (edge.op, edge.source if edge.source < 2 else str(edge.source), str(edge.target))
            for edge in cell.edges
        ]
        assert sorted(map(str, drawn)) == sorted(
            map(str, edges + [(None, str(node), "c_k") for node in cell.concat])
        )
        assert sorted(box.text for box in layout.boxes() if box.kind == "label") == sorted(
            edge.op for edge in cell.edges
        )


def test_the_drawing_is_well_formed_and_names_inputs_operations_and_cells() -> None:
    root = ElementTree.fromstring(draw_svg(DARTS_V2))
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert texts.count(f"ck{MINUS}2") == texts.count(f"ck{MINUS}1") == texts.count("ck") == 2
    assert {"normal cell", "reduction cell"} <= set(texts)
    assert texts.count("sep_conv_3x3") == 5
    assert texts.count("max_pool_3x3") == 5


def test_a_nasbench201_cell_has_one_input_and_all_its_edges() -> None:
    genotype = Genotype.from_arch(
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
    )
    texts = [
        "".join(text.itertext())
        for text in ElementTree.fromstring(draw_svg(genotype)).iter(f"{SVG}text")
    ]
    assert sorted(texts) == sorted(
        ["cell", "in", "1", "2", "3", "out", *(edge.op for edge in genotype.cells["cell"].edges)]
    )
    assert "stroke-dasharray" in draw_svg(genotype), "an edge without operation is dashed"


def test_equal_genotypes_have_equal_drawings() -> None:
    assert draw_svg(DARTS_V2) == draw_svg(Genotype.from_json(DARTS_V2.to_json()))


def test_the_drawing_has_its_own_background() -> None:
    first = next(ElementTree.fromstring(draw_svg(DARTS_V2)).iter(f"{SVG}rect"))
    assert (first.get("width"), first.get("height"), first.get("fill")) == (
        "100%",
        "100%",
        "#ffffff",
    )
