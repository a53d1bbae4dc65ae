"""The zoo as a table: each registered model, what it costs and what accuracy was measured.

It imports only the standard library: the command line loads it by its path to answer at once.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent.parent / "zoo.json"
COLUMNS = ["model", "parameters", "published", "multiply-adds", "measured accuracy", "from"]


def read() -> dict[str, dict[str, Any]]:
    """The cells by name: origin, genotype and, for each skeleton, size, costs and publication."""
    cells: dict[str, dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))
    return cells


def model_name(cell: str, skeleton: str) -> str:
    """The name under which timm knows a cell in a skeleton."""
    return f"midas_{cell}" if skeleton == "nasbench201" else f"midas_{cell}_{skeleton}"


def markdown() -> str:
    """The table, in Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *_rows()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _rows() -> Iterator[list[str]]:
    for cell, entry in sorted(read().items()):
        for skeleton, costs in sorted(entry["skeletons"].items()):
            published = costs.get("published")
            accuracy = costs.get("accuracy")
            yield [
                model_name(cell, skeleton),
                f"{costs['parameters']:,}",
                f"{published['parameters_m']}M" if published else "",
                f"{costs['macs'] / 1e6:.1f}M",
                f"{accuracy['value']:.2%} ({accuracy['on']})" if accuracy else "",
                entry["paper"],
            ]
