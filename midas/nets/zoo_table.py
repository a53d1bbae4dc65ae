"""The zoo as tables: every registered cell with what it costs and, where it was measured, what it reaches.

`midas/zoo.json` is the one source: the registry reads it, `midas zoo` prints it, the README shows it. This file needs
the standard library alone, so that `midas zoo` answers at once. The JSON lies outside this room because training
depends on the room's code, and not on which cells have names.
"""

import json
import re
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent.parent / "zoo.json"


def read() -> dict[str, dict[str, Any]]:
    """The cells by name: where each is from, its genotype, and for each skeleton its size, its costs, published figures."""
    cells: dict[str, dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))
    return cells


def dump(cells: dict[str, dict[str, Any]]) -> str:
    """The JSON text of cells, with short lists on one line."""
    text = json.dumps(cells, indent=1, sort_keys=True, ensure_ascii=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def model_name(cell: str, skeleton: str) -> str:
    """The name that timm knows a cell in a skeleton by."""
    return f"midas_{cell}" if skeleton == "nasbench201" else f"midas_{cell}_{skeleton}"


def rows() -> list[dict[str, str]]:
    """One row a registered model, its columns as text."""
    return [
        _row(model_name(cell, skeleton), entry, costs)
        for cell, entry in sorted(read().items())
        for skeleton, costs in sorted(entry["skeletons"].items())
    ]


def text() -> str:
    """The rows as aligned text."""
    table = [list(rows()[0]), *(list(row.values()) for row in rows())]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in table)
    return "\n".join(line.rstrip() for line in lines)


def markdown() -> str:
    """The rows as a Markdown table."""
    head = list(rows()[0])
    lines = [head, ["---"] * len(head), *(list(row.values()) for row in rows())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(name: str, entry: dict[str, Any], costs: dict[str, Any]) -> dict[str, str]:
    """One row: what a model costs by our count, and the parameters that its paper prints."""
    published, measured = costs.get("published", {}), costs.get("accuracy")
    return {
        "model": name,
        "parameters": f"{costs['parameters']:,}",
        "published": f"{published['parameters_m']}M" if published else "",
        "multiply-adds": f"{costs['macs'] / 1e6:.1f}M",
        "measured accuracy": f"{measured['value']:.2%} ({measured['on']})" if measured else "",
        "from": entry["paper"],
    }
