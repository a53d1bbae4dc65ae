"""What a found cell is: a schema-versioned value with one canonical JSON form, and the text forms that papers print.

A genotype names a space and, for each type of cell, the chosen edges (operation, from node, to node) and the nodes
whose outputs are joined. Nothing else stands in it, so that its bytes change exactly when the network does; where it
came from stands in a provenance file beside it.
"""

import ast
import hashlib
import importlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from midas.runs import files
from midas.runs.errors import GenotypeError, MidasError

SCHEMA = 1
MAX_NODES = 64  # bounds what a hostile file can make a builder allocate
MAX_TEXT = 2**20  # bytes of a genotype's text; a complete cell of 64 nodes takes a tenth of it
_PRINTED = {"normal", "normal_concat", "reduce", "reduce_concat"}  # what the printed form may hold
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_ARCH_EDGE = re.compile(r"([a-z0-9_]+)~([0-9]{1,2})")


class Edge(NamedTuple):
    """One chosen operation: applied to the output of node `source`, added into node `target`."""

    op: str
    source: int
    target: int


@dataclass(frozen=True)
class CellGenotype:
    """The chosen edges of one type of cell, and the nodes whose outputs it joins (in this order)."""

    edges: tuple[Edge, ...]
    concat: tuple[int, ...]


@dataclass(frozen=True)
class Genotype:
    """A found architecture.

    Attributes:
        space: the name of the search space, e.g. ``darts`` or ``nasbench201``.
        cells: the cells by type, e.g. ``normal`` and ``reduce``.

    Raises:
        GenotypeError: an edge does not go forward, appears twice, names something that cannot be an operation, or a
            joined node does not exist. Whether the space has the operation is checked by the space.
    """

    space: str
    cells: Mapping[str, CellGenotype]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.space):
            raise GenotypeError(f"genotype: space {self.space!r} is not a name")
        if not self.cells:
            raise GenotypeError("genotype: it has no cells")
        cells = {}
        for kind, cell in sorted(self.cells.items()):
            if not _NAME.fullmatch(kind):
                raise GenotypeError(f"genotype: cell type {kind!r} is not a name")
            # canonical order: by the node an edge goes into, then by where it comes from
            edges = tuple(sorted(cell.edges, key=lambda edge: (edge.target, edge.source, edge.op)))
            _check_cell(kind, edges, cell.concat)
            cells[kind] = CellGenotype(edges, tuple(cell.concat))
        object.__setattr__(self, "cells", cells)

    def to_json(self) -> str:
        """The canonical JSON form: equal genotypes give equal bytes."""
        cells = {
            kind: {"concat": list(cell.concat), "edges": [list(edge) for edge in cell.edges]}
            for kind, cell in self.cells.items()
        }
        return json.dumps({"cells": cells, "schema": SCHEMA, "space": self.space}, indent=1, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str, where: str = "genotype") -> "Genotype":
        """Read the JSON form.

        Args:
            text: the JSON.
            where: what error messages call it, e.g. the file's name.

        Raises:
            GenotypeError: it is not JSON, of another schema version, not a genotype, or longer than `MAX_TEXT`.
        """
        _check_length(text, where)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:  # a ValueError also for a number of thousands of digits
            raise GenotypeError(f"{where}: is not JSON ({error})") from error
        return Genotype.from_value(value, where)

    @staticmethod
    def from_value(value: Any, where: str = "genotype") -> "Genotype":
        """A genotype from the value of its JSON form; raises GenotypeError as `from_json` does."""
        if not isinstance(value, dict):
            raise GenotypeError(f"{where}: a genotype is a JSON object with the keys schema, space and cells")
        if value.get("schema") != SCHEMA:
            raise GenotypeError(
                f"{where}: schema {value.get('schema')!r} is not supported; this version reads schema {SCHEMA}"
            )
        if set(value) != {"schema", "space", "cells"}:
            raise GenotypeError(
                f"{where}: the keys must be schema, space and cells, not {', '.join(sorted(map(str, value)))}"
            )
        if not isinstance(value["space"], str) or not isinstance(value["cells"], dict):
            raise GenotypeError(f"{where}: space must be a name and cells an object")
        try:
            return Genotype(value["space"], {kind: _cell(kind, cell) for kind, cell in value["cells"].items()})
        except GenotypeError as error:
            raise GenotypeError(str(error).replace("genotype", where, 1)) from error

    def _repr_svg_(self) -> str:
        """The picture of the cells, which notebooks show."""
        # by its name, so that nothing that reads genotypes depends on how they are drawn
        drawing = importlib.import_module("midas.report.drawing")
        picture: str = drawing.draw_svg(self)
        return picture

    @property
    def hash(self) -> str:
        """The SHA-256 of the canonical form, in hexadecimal: equal for equal architectures of a space."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @staticmethod
    def from_lists(space: str, inputs: int = 2, **lists: Any) -> "Genotype":
        """Read the list form that papers print.

        Args:
            space: the space's name.
            inputs: how many input nodes a cell has; intermediate nodes are counted on from there.
            lists: for each type of cell its (operation, input) pairs, two for each intermediate node in turn, and for
                each `TYPE_concat` the joined nodes. E.g. ``normal=[("sep_conv_3x3", 0), ...], normal_concat=[2, 3, 4, 5]``.

        Raises:
            GenotypeError: the lists are not of that form.
        """
        kinds = [name for name in lists if not name.endswith("_concat")]
        try:
            cells = {
                kind: CellGenotype(
                    tuple(Edge(str(op), int(source), inputs + k // 2) for k, (op, source) in enumerate(lists[kind])),
                    tuple(int(node) for node in lists[f"{kind}_concat"]),
                )
                for kind in kinds
            }
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise GenotypeError(
                f"genotype: the list form needs (operation, input) pairs and a concat for each cell ({error})"
            ) from error
        return Genotype(space, cells)

    def to_lists(self) -> dict[str, list[Any]]:
        """The list form: what `from_lists` reads, for cells with two edges into each node.

        Raises:
            GenotypeError: a node has another number of edges than two, which the list form cannot say.
        """
        result: dict[str, list[Any]] = {}
        for kind, cell in self.cells.items():
            targets = [edge.target for edge in cell.edges]
            if any(targets.count(node) != 2 for node in targets):
                raise GenotypeError(
                    f"genotype: cell {kind} has a node without exactly two edges, the list form cannot say that"
                )
            result[kind] = [(edge.op, edge.source) for edge in cell.edges]
            result[f"{kind}_concat"] = list(cell.concat)
        return result

    @staticmethod
    def from_arch(arch: str) -> "Genotype":
        """Read a NAS-Bench-201 arch string, e.g. ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``.

        Raises:
            GenotypeError: the string is not of that form.
        """
        _check_length(arch, "arch string")
        edges = []
        groups = arch.strip().split("+")
        for target, group in enumerate(groups, start=1):
            parts = group.strip("|").split("|")
            if not group.startswith("|") or not group.endswith("|") or len(parts) != target or target > MAX_NODES:
                raise GenotypeError(
                    f"arch string {arch[:80]!r}: node {target} needs {target} operations written |op~0|op~1|..."
                )
            for source, part in enumerate(parts):
                match = _ARCH_EDGE.fullmatch(part)
                if match is None or int(match[2]) != source:
                    raise GenotypeError(
                        f"arch string {arch[:80]!r}: {part!r} is not an operation of the form op~{source}"
                    )
                edges.append(Edge(match[1], source, target))
        return Genotype("nasbench201", {"cell": CellGenotype(tuple(edges), (len(groups),))})

    def to_arch(self) -> str:
        """The NAS-Bench-201 arch string.

        Raises:
            GenotypeError: this is no genotype of that space, or an edge is missing, which an arch string cannot say.
        """
        if self.space != "nasbench201" or set(self.cells) != {"cell"}:
            raise GenotypeError(f"genotype: space {self.space} has no arch string, only nasbench201 has")
        edges = self.cells["cell"].edges
        nodes = sorted({edge.target for edge in edges})
        if len(edges) != sum(nodes) or nodes != list(range(1, len(nodes) + 1)):
            raise GenotypeError(
                f"genotype: an arch string has an edge between any two nodes; this cell has {len(edges)} edges"
            )
        groups = ["|" + "|".join(f"{e.op}~{e.source}" for e in edges if e.target == node) + "|" for node in nodes]
        return "+".join(groups)


def load_genotype(source: str | Path) -> Genotype:
    """Read a genotype from a JSON file, or from a text in any of the three forms (JSON, arch string, printed lists).

    Raises:
        GenotypeError: it cannot be read; the message says why.
    """
    text = str(source).strip()
    if isinstance(source, str) and text.startswith("{"):
        return Genotype.from_json(text)
    if isinstance(source, str) and text.startswith("|"):
        return Genotype.from_arch(text)
    if isinstance(source, str) and text.startswith("Genotype("):
        return _from_printed(text)
    path = Path(source)
    try:
        content = files.read_text(path, MAX_TEXT)
    except (OSError, ValueError, MidasError) as error:  # a ValueError for what is no text, in the file or as its name
        raise GenotypeError(f"{path}: {_unread(error)}") from error
    return Genotype.from_json(content, str(path))


def _unread(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file; a genotype is a file, a NAS-Bench-201 arch string or a printed Genotype(...)"
    return f"cannot be read as a genotype file ({error})"


def save_genotype(path: Path, genotype: Genotype) -> None:
    """Write the canonical JSON form, whole or not at all."""
    files.write_text(path, genotype.to_json())


def _from_printed(text: str) -> Genotype:
    """``Genotype(normal=[...], normal_concat=range(2, 6), ...)`` as DARTS prints it, read as literals, never evaluated."""
    _check_length(text, "genotype")
    text = re.sub(r"range\((\d{1,2}), ?(\d{1,2})\)", lambda m: str(list(range(int(m[1]), int(m[2])))), text)
    try:
        with warnings.catch_warnings(action="ignore"):  # remarks about strange literals
            call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("it is not written Genotype(normal=..., ...)")
        lists = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        if not lists.keys() <= _PRINTED:
            raise ValueError(f"it takes {', '.join(sorted(_PRINTED))}")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise GenotypeError(f"genotype: the printed form cannot be read ({error})") from error
    return Genotype.from_lists("darts", **lists)


def _check_length(text: str, where: str) -> None:
    """Raise GenotypeError for a text that no genotype is as long as, before anything is made of it."""
    if len(text) > MAX_TEXT:
        raise GenotypeError(f"{where}: has {len(text):,} characters; a genotype has at most {MAX_TEXT:,}")


def _cell(kind: str, value: Any) -> CellGenotype:
    """One cell from the value of its JSON form."""
    try:
        if set(value) != {"edges", "concat"}:
            raise ValueError("a cell has the keys edges and concat")
        edges = []
        for op, source, target in value["edges"]:
            if not isinstance(op, str) or type(source) is not int or type(target) is not int:
                raise ValueError("an edge is [operation, from, to]")
            edges.append(Edge(op, source, target))
        if any(type(node) is not int for node in value["concat"]):
            raise ValueError("concat is a list of node numbers")
        return CellGenotype(tuple(edges), tuple(value["concat"]))
    except (TypeError, ValueError) as error:
        raise GenotypeError(f"genotype: cell {kind!r} cannot be read ({error})") from error


def _check_cell(kind: str, edges: Sequence[Edge], concat: Sequence[int]) -> None:
    """Raise GenotypeError unless every edge goes forward, none appears twice, and every joined node exists."""
    for edge in edges:
        if not _NAME.fullmatch(edge.op):
            raise GenotypeError(f"genotype: cell {kind}: {edge.op!r} is not an operation's name")
        if not 0 <= edge.source < edge.target < MAX_NODES:
            raise GenotypeError(
                f"genotype: cell {kind}: edge {edge.op} goes from node {edge.source} to node {edge.target}; "
                f"edges go from an earlier to a later node below {MAX_NODES}"
            )
    pairs = [(edge.source, edge.target) for edge in edges]
    if len(set(pairs)) != len(pairs):
        raise GenotypeError(f"genotype: cell {kind}: two edges join the same two nodes")
    targets = {edge.target for edge in edges}
    if not concat or len(set(concat)) != len(concat) or not set(concat) <= targets:
        raise GenotypeError(
            f"genotype: cell {kind}: concat {list(concat)} must name nodes that edges go into, each once"
        )


__all__ = [
    "SCHEMA",
    "CellGenotype",
    "Edge",
    "Genotype",
    "GenotypeError",
    "MidasError",
    "load_genotype",
    "save_genotype",
]
