"""What the documentation shows runs, and what it names is there."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pages_of_docs import PAGES, ROOT, RUNNABLE, blocks

from midas.drawing.svg import draw_svg
from midas.genotype import load_genotype

RUN = [
    (page, b.text)
    for page in PAGES
    for b in blocks(page)
    if b.language == "python" and b.text.startswith(RUNNABLE)
]


def test_there_are_runnable_blocks_in_the_readme_and_in_the_docs() -> None:
    assert {page.name for page, _ in RUN} >= {"README.md", "index.md", "draw.md"}


@pytest.mark.parametrize(
    ("page", "text"), RUN, ids=[f"{page.stem}-{k}" for k, (page, _) in enumerate(RUN)]
)
def test_a_block_that_is_marked_as_runnable_runs(page: Path, text: str) -> None:
    exec(compile(text, str(page), "exec"), {"__name__": "__main__"})


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    named = set(re.findall(r"[\w/-]+\.md", json.dumps(navigation)))
    assert named == {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.parent != ROOT}


def test_every_command_that_the_docs_show_is_one_that_midas_has() -> None:
    consoles = [b.text for page in PAGES for b in blocks(page) if b.language == "console"]
    shown = {name for text in consoles for name in re.findall(r"^midas (\w+)", text, re.MULTILINE)}
    listed = subprocess.run(
        [sys.executable, "-m", "midas_cli", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown
    assert all(re.search(rf"\b{name}\b", listed) for name in shown)


def test_every_preset_that_the_docs_name_is_there() -> None:
    named = {
        name for page in PAGES for name in re.findall(r"[Pp]reset `([\w-]+)`", page.read_text())
    }
    assert named
    assert named <= {path.stem for path in (ROOT / "presets").glob("*.yaml")}


def test_the_published_cell_in_the_docs_is_drawn_as_midas_draws_it() -> None:
    zoo = json.loads((ROOT / "midas/zoo.json").read_text())["darts_v2"]["genotype"]
    assert (ROOT / "docs/pictures/darts_v2.svg").read_text() == draw_svg(
        load_genotype(json.dumps(zoo))
    )


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    command += ["--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Search one seed" in (tmp_path / "site/reference/api/index.html").read_text()


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom() -> None:
    notebook = json.loads((ROOT / "docs/tutorials/look-at-a-cell.ipynb").read_text())
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "outputs are not kept"
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert (Path(str(names["folder"])) / "model.onnx").stat().st_size > 10_000


OF_OTHERS = ("failed to reproduce", "Unable to acquire lock", "Unable to read RWLock", "is busy")


def test_every_message_that_troubleshooting_explains_is_one_that_the_code_has() -> None:
    page = (ROOT / "docs/how-to/troubleshooting.md").read_text(encoding="utf-8")
    symptoms = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")]
    messages = [text for symptom in symptoms for text in re.findall(r'"([^"]+)"', symptom)]
    assert len(messages) > 10
    constants = "\n".join(
        node.value
        for folder in ("midas", "pipeline")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    constants += (ROOT / "pipeline/report/templates/report.html.j2").read_text(encoding="utf-8")
    differing = r"\.\.\.|\b[NM]\b|search@0|\btorch\b|node_kernel\.c|versions\.txt|`dvc repro"
    parts = {
        part.strip(" ,:()'`")
        for text in messages
        if not text.startswith(OF_OTHERS)
        for part in re.split(differing, text)
    }
    assert sorted(part for part in parts if part not in constants) == []
