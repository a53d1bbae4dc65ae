"""The code in the documentation: its blocks, with what stands behind the language's name."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNNABLE = "# runnable\n"


class Block(NamedTuple):
    """A fenced block of code: its language, its title (a file's name) or the empty string, its
    text.
    """

    language: str
    title: str
    text: str


def blocks(path: Path) -> list[Block]:
    result = []
    for language, attributes, text in FENCE.findall(path.read_text(encoding="utf-8")):
        title = re.search(r'title="([^"]+)"', attributes)
        result.append(Block(language, title[1] if title else "", text))
    return result


def follow(path: Path, root: Path) -> list[str]:
    """Do what a how-to page says in a copy of the project: write its files, change its lines.
    Returns the new files.
    """
    written = []
    for block in blocks(path):
        if not block.title:
            continue
        target = root / block.title
        if block.language == "diff":
            old = "".join(line[1:] + "\n" for line in block.text.splitlines() if line[0] in " -")
            new = "".join(line[1:] + "\n" for line in block.text.splitlines() if line[0] in " +")
            before = target.read_text(encoding="utf-8")
            assert before.count(old) == 1, f"{path.name}: {block.title} has no such lines:\n{old}"
            target.write_text(before.replace(old, new), encoding="utf-8")
        else:
            assert not target.exists(), f"{block.title} is there already"
            target.write_text(block.text, encoding="utf-8")
            written.append(block.title)
    return written
