"""The complete error messages for invalid genotypes, which begin with the file's name."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midas.genotype import CellGenotype, Edge, Genotype, load_genotype
from midas.io.errors import GenotypeError

PRINTED = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], normal_concat=[2])"
VALUE = json.loads(load_genotype(PRINTED).to_json())
UNREADABLE = "cell.json: cell 'normal' cannot be read"
CONCAT = "cell.json: cell normal: concat"
EDGE = "cell.json: cell normal: edge"
FORWARD = "edges go from an earlier to a later node below 64"


def with_keys(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value.update(changes)


def with_cell(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["cells"]["normal"].update(changes)


def with_edge(*edge: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["cells"]["normal"]["edges"].append(list(edge))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda value: value["cells"]["normal"].pop("concat"),
            f"{UNREADABLE} (a cell has the keys edges and concat)",
        ),
        (with_cell(concat=["2"]), f"{UNREADABLE} (concat is a list of node numbers)"),
        (with_cell(concat=[True]), f"{UNREADABLE} (concat is a list of node numbers)"),
        (with_edge(1, 0, 2), f"{UNREADABLE} (an edge is [operation, from, to])"),
        (with_edge("a", 0, 2.0), f"{UNREADABLE} (an edge is [operation, from, to])"),
        (with_edge("a", 0.0, 2), f"{UNREADABLE} (an edge is [operation, from, to])"),
        (with_keys(space=1), "cell.json: space must be a name and cells an object"),
        (with_keys(cells=[]), "cell.json: space must be a name and cells an object"),
        (
            with_keys(z=1, y=2),
            "cell.json: the keys must be schema, space and cells, not cells, schema, space, y, z",
        ),
        (
            with_keys(schema=2),
            "cell.json: schema 2 is not supported; this version reads schema 1",
        ),
        (with_keys(space="9"), "cell.json: space '9' is not a name"),
        (with_keys(space="genotype/x"), "cell.json: space 'genotype/x' is not a name"),
        (
            lambda value: value["cells"].update({"9": value["cells"]["normal"]}),
            "cell.json: cell type '9' is not a name",
        ),
        (with_keys(cells={}), "cell.json: it has no cells"),
        (
            with_cell(concat=[2, 2]),
            f"{CONCAT} [2, 2] must name nodes that edges go into, each once",
        ),
        (with_cell(concat=[]), f"{CONCAT} [] must name nodes that edges go into, each once"),
        (with_edge("A b", 0, 2), "cell.json: cell normal: 'A b' is not an operation's name"),
        (with_edge("a", 0, 64), f"{EDGE} a goes from node 0 to node 64; {FORWARD}"),
        (with_edge("a", -1, 2), f"{EDGE} a goes from node -1 to node 2; {FORWARD}"),
        (with_edge("a", 2, 2), f"{EDGE} a goes from node 2 to node 2; {FORWARD}"),
        (with_edge("a", 0, 2), "cell.json: cell normal: two edges join the same two nodes"),
    ],
)
def test_an_invalid_genotype_is_described_in_full(
    change: Callable[[dict[str, Any]], None], message: str
) -> None:
    value = copy.deepcopy(VALUE)
    change(value)
    with pytest.raises(GenotypeError) as error:
        Genotype.from_json(json.dumps(value), "cell.json")
    assert str(error.value) == message


def test_errors_without_a_file_say_genotype() -> None:
    for read in (Genotype.from_value, lambda value: Genotype.from_json(json.dumps(value))):
        with pytest.raises(GenotypeError) as error:
            read([])
        assert (
            str(error.value)
            == "genotype: a genotype is a JSON object with the keys schema, space and cells"
        )


def test_the_highest_node_is_63() -> None:
    value = copy.deepcopy(VALUE)
    with_edge("a", 0, 63)(value)
    assert Genotype.from_value(value).cells["normal"].edges[-1] == ("a", 0, 63)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (
            "|a~0|+|b~0|c~0|",
            "arch string '|a~0|+|b~0|c~0|': 'c~0' is not an operation of the form op~1",
        ),
        (
            "|a~0|+|b~0|",
            "arch string '|a~0|+|b~0|': node 2 needs 2 operations written |op~0|op~1|...",
        ),
        ("x" * 100, f"arch string '{'x' * 80}': node 1 needs 1 operations written |op~0|op~1|..."),
    ],
)
def test_an_invalid_arch_string_is_described_in_full(arch: str, message: str) -> None:
    with pytest.raises(GenotypeError) as error:
        Genotype.from_arch(arch)
    assert str(error.value) == message


def test_a_form_that_a_genotype_lacks_is_an_error() -> None:
    with pytest.raises(
        GenotypeError, match=r"^genotype: space darts has no arch string, only nasbench201 has$"
    ):
        load_genotype(PRINTED).to_arch()
    incomplete = Genotype(
        "nasbench201", {"cell": CellGenotype((Edge("none", 0, 1), Edge("none", 1, 2)), (2,))}
    )
    with pytest.raises(
        GenotypeError,
        match="an arch string has an edge between any two nodes; this cell has 2 edges",
    ):
        incomplete.to_arch()
    with pytest.raises(
        GenotypeError,
        match=r"^genotype: the list form needs \(operation, input\) pairs and a concat",
    ):
        load_genotype("Genotype(normal=[('a', 0)])")


def test_a_file_that_is_missing_or_not_a_genotype_is_named(tmp_path: Path) -> None:
    path = tmp_path / "Größe.json"
    with pytest.raises(
        GenotypeError,
        match=r"Größe\.json: there is no such file; a genotype is a file, a NAS-Bench-201 arch",
    ):
        load_genotype(path)
    path.write_bytes(b"\xff\xff")
    with pytest.raises(GenotypeError, match=r"Größe\.json: cannot be read as a genotype file"):
        load_genotype(str(path))
    path.write_text("[]")
    with pytest.raises(GenotypeError, match=r"Größe\.json: a genotype is a JSON object"):
        load_genotype(path)
