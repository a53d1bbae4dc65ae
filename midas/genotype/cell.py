"""One type of cell of a genotype, and its text forms; what is not of a form is a GenotypeError."""

import ast
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from midas.io.errors import GenotypeError, reason, shorten

MAX_NODES = 64  # limits what a hostile file can make a builder allocate
NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


class Edge(NamedTuple):
    """One chosen operation: it reads the output of node `source` and adds to node `target`."""

    op: str
    source: int
    target: int


@dataclass(frozen=True)
class CellGenotype:
    """The chosen edges of a cell, and the nodes whose outputs it joins, in this order."""

    edges: tuple[Edge, ...]
    concat: tuple[int, ...]

    def canonical(self) -> "CellGenotype":
        """The same cell with its edges ordered by target, then source."""
        edges = sorted(self.edges, key=lambda edge: (edge.target, edge.source, edge.op))
        return CellGenotype(tuple(edges), tuple(self.concat))

    def check(self, kind: str) -> None:
        """Raise GenotypeError unless edges go forward, differ, and reach every joined node."""
        problem = None
        pairs = {(edge.source, edge.target) for edge in self.edges}
        targets = {edge.target for edge in self.edges}
        unique = set(self.concat)
        if len(pairs) != len(self.edges):
            problem = "two edges join the same two nodes"
        elif not unique or len(unique) != len(self.concat) or not unique <= targets:
            problem = f"concat {list(self.concat)} must name nodes that edges go into, each once"
        for op, source, target in self.edges:
            if not NAME.fullmatch(op):
                problem = f"{op!r} is not an operation's name"
            elif not 0 <= source < target < MAX_NODES:
                problem = (
                    f"edge {op} goes from node {source} to node {target}; edges go from an earlier "
                    f"to a later node below {MAX_NODES}"
                )
        if problem is not None:
            raise GenotypeError(f"genotype: cell {kind}: {problem}")


MAX_TEXT = 2**20  # bytes; the JSON of a complete cell of 64 nodes takes a tenth of it
_ARCH_EDGE = re.compile(r"([a-z0-9_]+)~([0-9]{1,2})")
_RANGE = re.compile(r"range\((\d{1,2}), ?(\d{1,2})\)")
_NUMPY = re.compile(r"\b(?:np|numpy)\.(?:u?int\d*|str_)\(([^()]*)\)")  # as NumPy 2 prints itself
_PRINTED_KEYS = ("normal", "normal_concat", "reduce", "reduce_concat")


def cell_from_value(kind: str, value: Any) -> CellGenotype:
    """The cell of a JSON value."""
    try:
        if set(value) != {"edges", "concat"}:
            raise ValueError("a cell has the keys edges and concat")
        edges = tuple(Edge(op, source, target) for op, source, target in value["edges"])
        if any([type(part) for part in edge] != [str, int, int] for edge in edges):
            raise ValueError("an edge is [operation, from, to]")
        if any(type(node) is not int for node in value["concat"]):
            raise ValueError("concat is a list of node numbers")
        return CellGenotype(edges, tuple(value["concat"]))
    except (TypeError, ValueError) as error:
        raise GenotypeError(f"genotype: cell {kind!r} cannot be read ({error})") from error


def cells_from_lists(inputs: int, lists: Mapping[str, Any]) -> dict[str, CellGenotype]:
    """The cells of the list form, whose intermediate nodes are numbered from `inputs` on."""
    cells = {}
    try:
        for kind in (key for key in lists if not key.endswith("_concat")):
            pairs = enumerate(lists[kind])
            edges = tuple(Edge(str(op), int(source), inputs + k // 2) for k, (op, source) in pairs)
            concat = tuple(int(node) for node in lists[f"{kind}_concat"])
            cells[kind] = CellGenotype(edges, concat)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise GenotypeError(
            "genotype: the list form needs (operation, input) pairs and a concat for each cell "
            f"({error})"
        ) from error
    return cells


def parse_printed(text: str) -> dict[str, Any]:
    """The lists in ``... Genotype(normal=[...], normal_concat=range(2, 6), ...)``, not run."""
    check_length(text, "genotype")
    if (copies := text.count("Genotype(")) > 1:
        raise GenotypeError(f"genotype: the text has {copies} printed genotypes; take one line")
    text = _NUMPY.sub(r"\1", text[max(text.find("Genotype("), 0) :])
    text = _RANGE.sub(lambda match: str(list(range(int(match[1]), int(match[2])))), text)
    try:
        with warnings.catch_warnings(action="ignore"):  # about unusual literals
            call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("it is not written Genotype(normal=..., ...)")
        lists = {str(keyword.arg): _literal(keyword.value) for keyword in call.keywords}
        if not lists.keys() <= set(_PRINTED_KEYS):
            raise ValueError(f"its keys can only be {', '.join(_PRINTED_KEYS)}")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        problem = f"the printed form cannot be read ({reason(error)})"
        raise GenotypeError(f"genotype: {problem}") from error
    return lists


def _literal(node: ast.expr) -> Any:
    """The value of a literal, or a ValueError that shows what is none."""
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        problem = "is not made of texts and numbers"
        raise ValueError(f"{shorten(ast.unparse(node))} {problem}") from error


def cell_from_arch(arch: str) -> CellGenotype:
    """The cell of an arch string, e.g. ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``."""
    check_length(arch, "arch string")
    edges = []
    groups = arch.strip().split("+")
    for target, group in enumerate(groups, start=1):
        parts = group.strip("|").split("|")
        enclosed = group.startswith("|") and group.endswith("|")
        if not enclosed or len(parts) != target or target > MAX_NODES:
            problem = f"node {target} needs {target} operations written |op~0|op~1|..."
            raise GenotypeError(f"arch string {arch[:80]!r}: {problem}")
        for source, part in enumerate(parts):
            match = _ARCH_EDGE.fullmatch(part)
            if match is None or int(match[2]) != source:
                problem = f"{part!r} is not an operation of the form op~{source}"
                raise GenotypeError(f"arch string {arch[:80]!r}: {problem}")
            edges.append(Edge(match[1], source, target))
    return CellGenotype(tuple(edges), (len(groups),))


def cell_to_arch(edges: Sequence[Edge]) -> str:
    """The arch string of canonically ordered edges, one between any two nodes."""
    nodes = sorted({edge.target for edge in edges})
    if len(edges) != sum(nodes) or nodes != list(range(1, len(nodes) + 1)):
        raise GenotypeError(
            "genotype: an arch string has an edge between any two nodes; this cell has "
            f"{len(edges)} edges"
        )
    groups = [[f"{e.op}~{e.source}" for e in edges if e.target == node] for node in nodes]
    return "+".join(f"|{'|'.join(group)}|" for group in groups)


def check_length(text: str, where: str) -> None:
    """Raise GenotypeError for a text that is too long to be parsed safely."""
    if len(text) > MAX_TEXT:
        raise GenotypeError(
            f"{where}: has {len(text):,} characters; a genotype has at most {MAX_TEXT:,}"
        )
