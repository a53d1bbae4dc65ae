"""The house rules: small files, short lines, the field's words, and names of files that exist."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages_of_docs import ROOT

LIBRARY = [*(ROOT / "midas").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")]
LIBRARY = [*sorted(LIBRARY), ROOT / "midas_cli.py"]
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
KERNELS = [*(ROOT / "midas").rglob("*.c"), *(ROOT / "midas").rglob("*.h")]
PYTHON = [*LIBRARY, *BENCHMARKS, *TESTS, ROOT / "noxfile.py"]
MOST_LINES = {
    "README.md": 120,
    "benchmarks/RESULTS.md": 150,
}
# private words for things that the field has a name for, and that name
WORDS = {
    "NodeSite": "NodeSpec",
    "Choice": "ArchWeights",
    "Halves": "BilevelSplit",
    "Verdict": "ProxyScore",
    "Pictures": "PerImageTransforms",
    "World": "Distributed",
    "Room": "Workspace",
    "Strip": "PatchRow",
    "arm": "method",
    "arms": "methods",
    "ask": "project_query",
    "choose": "softmax_pairs",
    "by_x": "grad_x",
    "wanted": "active_ops",
    "brief": "proxy training",
    "short_training": "proxy training",
    "verdict": "score",
    "refine": "local_search",
    "refined": "local_search",
    "posterior": "gaussian_process",
    "capacity": "size_prior",
    "shortfall": "log_size_gap",
    "given": "fixed_genotype",
    "rules": "aggregation",
    "world": "distributed",
    "average": "all_reduce_mean",
    "writes": "is_main",
    "runner": "graphed_step",
    "alike": "can_capture",
    "forget": "reset",
    "faults": "quality, or errors",
    "halves": "split",
    "pictures": "images",
    "one": "the thing's name",
    "found": "the thing's name",
    "own": "the thing's name",
    "told": "the thing's name",
    "said": "the thing's name",
    "asked": "the thing's name",
}
ALLOWED = {
    ("midas/drawing/pictures.py", "pictures"),  # drawings as picture files
    ("midas/data/pictures.py", "pictures"),  # image files in all their forms
    ("midas/spaces/operations.py", "average"),  # of the two kinds of pooling
}


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    ("paths", "most"), [(LIBRARY, 15_000), (BENCHMARKS, 2_500)], ids=["library", "benchmarks"]
)
def test_there_is_no_more_code_than_can_be_read(paths: list[Path], most: int) -> None:
    assert sum(len(lines_of(path)) for path in paths) <= most


@pytest.mark.parametrize("name", MOST_LINES)
def test_a_page_stays_short(name: str) -> None:
    assert len(lines_of(ROOT / name)) <= MOST_LINES[name]


def test_no_python_file_is_long() -> None:
    assert len(PYTHON) > 150
    lengths = {name_of(path): len(lines_of(path)) for path in PYTHON}
    assert lengths.pop("midas/deploy/predict.py") <= 380  # it stands alone in a model folder
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_no_line_of_code_is_wide() -> None:
    wide = [
        f"{name_of(path)}:{number}"
        for path in PYTHON
        for number, line in enumerate(lines_of(path), 1)
        if len(line) > 100
    ]
    assert wide == []


def names_made(path: Path) -> Iterator[tuple[int, str]]:
    """Every name that a module gives to something, with its line; the module's own name first."""
    yield 0, path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.alias(asname=str(name)):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def test_nothing_has_a_private_name_where_the_field_has_one() -> None:
    private = [
        f"{name_of(path)}:{line}: {name}: use {WORDS[word]}"
        for path in LIBRARY
        for line, name in names_made(path)
        if (word := name.strip("_")) in WORDS and (name_of(path), word) not in ALLOWED
    ]
    private += [
        f"{name_of(path)}: {word}"
        for path in KERNELS
        for word in ("Room", "Strip", "by_x", "ask", "choose")
        if re.search(rf"\b{word}\b", path.read_text(encoding="utf-8"))
    ]
    assert private == []


def test_the_check_of_names_sees_every_way_to_make_one(tmp_path: Path) -> None:
    module = tmp_path / "arm.py"
    lines = ["import x as told", "class World:", "    def brief(self, own):"]
    lines += ["        self._faults = [one for one in own]"]
    module.write_text("\n".join(lines))
    names = {name.strip("_") for _, name in names_made(module)}
    assert names & set(WORDS) == {"arm", "told", "World", "brief", "own", "faults", "one"}


def test_every_page_that_code_names_is_there() -> None:
    texts = [*LIBRARY, *BENCHMARKS, *KERNELS, ROOT / "Makefile", ROOT / "dvc.yaml"]
    texts += sorted((ROOT / "presets").glob("*.yaml"))
    named = {
        (name_of(path), page)
        for path in texts
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text(encoding="utf-8"))
    }
    assert named
    assert sorted(entry for entry in named if not (ROOT / entry[1]).is_file()) == []


def test_the_files_of_the_mutation_run_are_there() -> None:
    mutmut = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    keys = ("only_mutate", "pytest_add_cli_args_test_selection", "also_copy")
    assert [p for key in keys for p in mutmut[key] if not (ROOT / p).exists()] == []
