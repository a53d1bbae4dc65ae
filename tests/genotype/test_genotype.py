"""A genotype has one canonical form, reads three forms, and raises errors for anything else."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas.genotype import (
    CellGenotype,
    Edge,
    Genotype,
    load_genotype,
    save_genotype,
)
from midas.io.errors import GenotypeError
from midas.spaces import get_space

BEST = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
    "+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
)
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))"
)


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    space = get_space(draw(st.sampled_from(["darts", "rdarts-s1", "rdarts-s4", "nasbench201"])))
    cells = {}
    for kind in space.edges:
        edges = []
        for specs in space.nodes(kind):
            kept = (
                range(len(specs))
                if space.keep is None
                else draw(st.permutations(range(len(specs))))[: space.keep]
            )
            edges += [
                Edge(draw(st.sampled_from(specs[k].candidates)), specs[k].source, specs[k].target)
                for k in kept
            ]
        cells[kind] = CellGenotype(tuple(draw(st.permutations(edges))), space.concat)
    return Genotype(space.name, cells)


@given(genotypes())
def test_json_round_trips_to_the_same_genotype_and_bytes(genotype: Genotype) -> None:
    again = Genotype.from_json(genotype.to_json())
    assert again == genotype
    assert again.to_json() == genotype.to_json()
    assert again.hash == genotype.hash


@given(genotypes(), st.randoms(use_true_random=False))
def test_the_order_of_edges_does_not_change_the_hash(genotype: Genotype, random) -> None:
    cells = {
        kind: CellGenotype(tuple(random.sample(c.edges, len(c.edges))), c.concat)
        for kind, c in genotype.cells.items()
    }
    assert Genotype(genotype.space, cells).hash == genotype.hash


@given(genotypes())
def test_the_text_form_of_each_space_round_trips(genotype: Genotype) -> None:
    if genotype.space == "nasbench201":
        assert Genotype.from_arch(genotype.to_arch()) == genotype
        return
    lists: dict[str, list[Any]] = {}
    for kind, cell in genotype.cells.items():
        lists[kind] = [(edge.op, edge.source) for edge in cell.edges]
        lists[f"{kind}_concat"] = list(cell.concat)
    assert Genotype.from_lists(genotype.space, **lists) == genotype


def test_the_arch_string_and_the_printed_form_are_read() -> None:
    assert load_genotype(BEST).to_arch() == BEST
    genotype = load_genotype(DARTS_V2)
    get_space("darts").check(genotype)
    assert genotype.cells["normal"].edges[-1] == Edge("dil_conv_3x3", 2, 5)
    assert genotype.cells["reduce"].concat == (2, 3, 4, 5)


def test_the_json_form_is_read_from_a_text_too() -> None:
    assert load_genotype(" " + load_genotype(DARTS_V2).to_json()) == load_genotype(DARTS_V2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Genotype(normal=[('skip_connect', 0)]", "the printed form cannot be read"),
        (
            "Genotype([('skip_connect', 0)], normal_concat=[2])",
            "it is not written Genotype(normal=..., ...)",
        ),
        ("Genotype(normal=open('x'), normal_concat=[2])", "the printed form cannot be read"),
        (
            "Genotype(normal=[('skip_connect', 0), ('skip_connect', 1)])",
            "needs (operation, input) pairs and a concat",
        ),
    ],
)
def test_a_broken_printed_form_is_an_error(text: str, message: str) -> None:
    with pytest.raises(GenotypeError) as error:
        load_genotype(text)
    assert message in str(error.value)


def test_a_file_is_written_whole_and_read_back(tmp_path) -> None:
    save_genotype(tmp_path / "g.json", load_genotype(BEST))
    assert load_genotype(tmp_path / "g.json").to_arch() == BEST
    assert [p.name for p in tmp_path.iterdir()] == ["g.json"]


def changed(**changes: object) -> str:
    value = json.loads(load_genotype(DARTS_V2).to_json())
    for key, change in changes.items():
        if key == "edge":
            value["cells"]["normal"]["edges"][0] = change
        else:
            value[key] = change
    return json.dumps(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1, 2]", "a genotype is a JSON object"),
        (changed(schema=2), "schema 2 is not supported"),
        (changed(schema=None), "schema None is not supported"),
        (changed(extra=1), "the keys must be"),
        (changed(space="; rm -rf /"), "is not a name"),
        (changed(edge=["sep_conv_3x3", 4, 2]), "edges go from an earlier to a later node"),
        (changed(edge=["sep_conv_3x3", 0, 10**9]), "edges go from an earlier to a later node"),
        (changed(edge=["__import__('os')", 0, 2]), "is not an operation's name"),
        (changed(edge=["sep_conv_3x3", 1, 2]), "join the same two nodes"),
        (changed(edge=["sep_conv_3x3", 0.5, 2]), "an edge is [operation, from, to]"),
        (changed(cells={}), "it has no cells"),
        (
            changed(cells={"normal": {"edges": [["sep_conv_3x3", 0, 2]], "concat": [3]}}),
            "must name nodes",
        ),
    ],
)
def test_a_text_that_is_not_a_genotype_is_an_error_of_one_line(text: str, message: str) -> None:
    with pytest.raises(GenotypeError) as error:
        Genotype.from_json(text, "cell.json")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_operation_is_named_with_the_operations_of_the_space() -> None:
    genotype = Genotype.from_json(changed(edge=["sep_conv_9x9", 0, 2]))
    with pytest.raises(
        GenotypeError, match=r"unknown operation 'sep_conv_9x9'; space darts has .*sep_conv_3x3"
    ):
        get_space("darts").check(genotype)


@pytest.mark.parametrize(
    "arch", ["", "|a~0", "|a~1|", "|a~0|+|b~0|", "|a~0|+|b~0|c~0|", "|a~x|", "nonsense"]
)
def test_a_malformed_arch_string_is_an_error(arch: str) -> None:
    with pytest.raises(GenotypeError):
        Genotype.from_arch(arch)


@given(st.text(max_size=60))
def test_any_other_text_raises_a_genotype_error(text: str) -> None:
    for read in (Genotype.from_json, Genotype.from_arch):
        with pytest.raises(GenotypeError):
            read(text)


CELLS = (
    "normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=range(2, 3), "
    "reduce=[('max_pool_3x3', 1), ('skip_connect', 0)], reduce_concat=[2]"
)


@pytest.mark.parametrize(
    "text",
    [
        f"genotype = Genotype({CELLS})",
        f"DARTS_V2 = Genotype({CELLS})",
        f"03/12 10:01:02 AM genotype = Genotype({CELLS})\n",
        "Genotype("
        + CELLS.replace(", 0)", ", np.int64(0))").replace("', 1", "', numpy.int32(1)")
        + ")",
        "Genotype(" + CELLS.replace("('skip_connect', ", "(np.str_('skip_connect'), ") + ")",
    ],
)
def test_a_genotype_is_read_as_logs_print_it(text: str, tmp_path: Path) -> None:
    expected = load_genotype(f"Genotype({CELLS})")
    assert load_genotype(text) == expected
    (tmp_path / "log.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_genotype(tmp_path / "log.txt") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"Genotype({CELLS})\nGenotype({CELLS})",
            "the text has 2 printed genotypes; take one line",
        ),
        ("Genotype(normal=[('a', f(0))])", r"\('a', f\(0\)\)\] is not made of texts and numbers"),
        ("Genotype(normal=" + "x" * 5000 + ")", "xxx is not made of texts and numbers"),
    ],
)
def test_a_printed_genotype_that_is_none_is_refused_in_one_short_line(
    text: str, message: str
) -> None:
    with pytest.raises(GenotypeError, match=message) as caught:
        load_genotype(text)
    assert len(str(caught.value)) <= 300
    assert "object at" not in str(caught.value)
