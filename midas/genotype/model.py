"""A found architecture: what defines the network, with one canonical JSON form and a hash."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midas.genotype import cell as forms
from midas.genotype.cell import NAME, CellGenotype
from midas.io import files
from midas.io.errors import GenotypeError, MidasError, reason, shorten

SCHEMA = 1


@dataclass(frozen=True)
class Genotype:
    """A found architecture. Whatever is not valid raises GenotypeError, here and in each method."""

    space: str  # the search space's name, e.g. ``darts``; its `check` knows the operations
    cells: Mapping[str, CellGenotype]  # by type, e.g. ``normal`` and ``reduce``

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.space):
            raise GenotypeError(f"genotype: space {self.space!r} is not a name")
        if not self.cells:
            raise GenotypeError("genotype: it has no cells")
        cells = {kind: cell.canonical() for kind, cell in sorted(self.cells.items())}
        for kind, cell in cells.items():
            if not NAME.fullmatch(kind):
                raise GenotypeError(f"genotype: cell type {kind!r} is not a name")
            cell.check(kind)
        object.__setattr__(self, "cells", cells)

    @property
    def hash(self) -> str:
        """The SHA-256 of the canonical JSON form, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The canonical JSON form: equal genotypes have equal bytes."""
        cells = {kind: vars(cell) for kind, cell in self.cells.items()}
        value = {"cells": cells, "schema": SCHEMA, "space": self.space}
        return json.dumps(value, indent=1, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str, where: str = "genotype") -> "Genotype":
        """Read the JSON form; errors call it `where`, e.g. by the file's name."""
        forms.check_length(text, where)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:  # also a number of thousands of digits
            raise GenotypeError(f"{where}: is not JSON ({error})") from error
        return Genotype.from_value(value, where)

    @staticmethod
    def from_value(value: Any, where: str = "genotype") -> "Genotype":
        """Read the value of the JSON form, which errors call `where`."""
        if problem := _problem(value):
            raise GenotypeError(f"{where}: {problem}")
        try:
            cells = {k: forms.cell_from_value(k, cell) for k, cell in value["cells"].items()}
            return Genotype(value["space"], cells)
        except GenotypeError as error:
            raise GenotypeError(where + str(error).removeprefix("genotype")) from error

    @staticmethod
    def from_lists(space: str, inputs: int = 2, **lists: Any) -> "Genotype":
        """Read the list form that papers print, e.g. ``normal=[("sep_conv_3x3", 0), ...]`` and
        ``normal_concat=[2, 3, 4, 5]``: two (operation, source) pairs for each node in turn.
        """
        return Genotype(space, forms.cells_from_lists(inputs, lists))

    @staticmethod
    def from_arch(arch: str) -> "Genotype":
        """Read a NAS-Bench-201 arch string, e.g. ``|nor_conv_3x3~0|+|none~0|skip_connect~1|``."""
        return Genotype("nasbench201", {"cell": forms.cell_from_arch(arch)})

    def to_arch(self) -> str:
        """The NAS-Bench-201 arch string, for complete cells of that space."""
        if self.space != "nasbench201" or set(self.cells) != {"cell"}:
            raise GenotypeError(
                f"genotype: space {self.space} has no arch string, only nasbench201 has"
            )
        return forms.cell_to_arch(self.cells["cell"].edges)


def _problem(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "a genotype is a JSON object with the keys schema, space and cells"
    if (schema := value.get("schema")) != SCHEMA:
        return f"schema {schema!r} is not supported; this version reads schema {SCHEMA}"
    if set(value) != {"schema", "space", "cells"}:
        keys = ", ".join(sorted(map(str, value)))
        return f"the keys must be schema, space and cells, not {keys}"
    if not isinstance(value["space"], str) or not isinstance(value["cells"], dict):
        return "space must be a name and cells an object"
    return None


def load_genotype(source: str | Path) -> Genotype:
    """Read a text, or the text in a file: JSON, an arch string or a printed ``Genotype(...)``."""
    text = source.strip() if isinstance(source, str) else ""
    if text.startswith(("{", "|")) or "Genotype(" in text:
        return _parse(text)
    path = Path(source)
    try:
        content = files.read_text(path, forms.MAX_TEXT)
    except FileNotFoundError as error:
        raise GenotypeError(
            f"{shorten(str(path), 120)}: there is no such file; a genotype is a file, a "
            "NAS-Bench-201 arch string or a printed Genotype(...)"
        ) from error
    except (OSError, ValueError, MidasError) as error:  # a ValueError for bytes that are no text
        name = shorten(str(path), 120)
        why = getattr(error, "strerror", None) or reason(error)
        raise GenotypeError(f"{name}: cannot be read as a genotype file ({why})") from error
    try:
        return _parse(content.strip())
    except GenotypeError as error:
        raise GenotypeError(f"{path}: {str(error).removeprefix('genotype: ')}") from error


def _parse(text: str) -> Genotype:
    """The genotype in any of its text forms; a text of none of them is read as JSON."""
    if text.startswith("|"):
        return Genotype.from_arch(text)
    if not text.startswith("{") and "Genotype(" in text:
        return Genotype.from_lists("darts", **forms.parse_printed(text))
    return Genotype.from_json(text)


def save_genotype(path: Path, genotype: Genotype) -> None:
    """Write the canonical JSON form, whole or not at all."""
    files.write_text(path, genotype.to_json())


def to_line(genotype: Genotype) -> str:
    """A text that `load_genotype` reads, without line breaks: an arch string or JSON."""
    is_bench = genotype.space == "nasbench201"
    return genotype.to_arch() if is_bench else " ".join(genotype.to_json().split())
