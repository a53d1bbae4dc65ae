"""The deps in dvc.yaml name every module that a stage imports and no other; imports run in no
circle.
"""

import ast
import graphlib
from pathlib import Path

import grimp
import pytest
import yaml

from pipeline import provenance

ROOT = Path(__file__).parents[2]
DEFINITIONS = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SEARCHES = {"search", "decode", "select"}
# files that select hashes as the code behind a genotype, and does not import
HASHED = {"select": provenance.ROOMS}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """The import graph, imports inside functions included."""
    return grimp.build_graph("midas", "pipeline", cache_dir=None)


def file_of(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def command_of(stage: str) -> str:
    """``train-timm`` is the command ``train`` with other deps."""
    return stage.partition("-")[0]


def imported(graph: grimp.ImportGraph, stage: str) -> set[Path]:
    """The files of the stage's own module and of everything that it imports, directly or not;
    kernels with their C.
    """
    start = f"pipeline.{command_of(stage)}"
    files = {file_of(module) for module in graph.find_upstream_modules(start) | {start}}
    kernels = {file.with_suffix(suffix) for file in files for suffix in (".c", ".h")}
    return files | {file for file in kernels if file.exists()}


def code_deps(stage: str) -> list[Path]:
    deps = DEFINITIONS[stage]["deps"]
    return [ROOT / dep for dep in deps if dep.startswith(("midas/", "pipeline/"))]


def holds(dep: Path, file: Path) -> bool:
    return file == dep or dep in file.parents


def stages_run_again_by(path: str) -> set[str]:
    """The stages that `dvc status` lists when this file has changed."""
    assert (ROOT / path).is_file()
    again = {
        stage for stage in DEFINITIONS if any(holds(dep, ROOT / path) for dep in code_deps(stage))
    }
    commands = {command_of(stage) for stage in again}
    assert again == {stage for stage in DEFINITIONS if command_of(stage) in commands}
    return commands


@pytest.mark.parametrize("stage", DEFINITIONS)
def test_a_stages_deps_name_every_module_that_its_command_imports(
    stage: str, graph: grimp.ImportGraph
) -> None:
    deps = code_deps(stage)
    assert [dep for dep in deps if not dep.exists()] == []
    assert [f for f in imported(graph, stage) if not any(holds(dep, f) for dep in deps)] == []


@pytest.mark.parametrize("stage", DEFINITIONS)
def test_no_dep_is_named_that_the_command_does_not_import(
    stage: str, graph: grimp.ImportGraph
) -> None:
    files = imported(graph, stage)
    hashed = [ROOT / room for room in HASHED.get(stage, [])]
    deps = [dep for dep in code_deps(stage) if dep not in hashed]
    assert [dep for dep in deps if not any(holds(dep, file) for file in files)] == []


@pytest.mark.parametrize("stage", DEFINITIONS)
def test_a_stages_deps_are_named_once_and_in_order(stage: str) -> None:
    deps = [dep for dep in DEFINITIONS[stage]["deps"] if dep.startswith(("midas/", "pipeline/"))]
    assert deps == sorted(set(deps))


def test_the_code_that_provenance_hashes_is_among_the_deps_of_select() -> None:
    """Otherwise the cached provenance.json would name code that is not there any more."""
    assert [room for room in provenance.ROOMS if ROOT / room not in code_deps("select")] == []


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        ("midas/drawing/svg.py", {"report"}),
        ("pipeline/report/page.py", {"report"}),
        ("pipeline/console.py", {"report"}),
        ("pipeline/run_stage.py", set()),
        ("pipeline/check.py", set()),
        ("pipeline/summary.py", set()),
        ("midas/deploy/latency.py", {"export", "evaluate"}),
        ("midas/zoo/card.py", {"build", "export", "evaluate"}),
        ("midas/proxy/training.py", {"decode", "select"}),
        ("midas/train/training.py", {"train", "build"}),
        ("midas/nets/cells.py", {"train", "build", "export", "evaluate"}),
    ],
)
def test_a_change_runs_again_what_its_result_depends_on(path: str, stages: set[str]) -> None:
    assert stages_run_again_by(path) == stages


def test_a_model_of_timm_waits_for_no_search() -> None:
    for stage, definition in DEFINITIONS.items():
        if stage.endswith("-timm"):
            assert not [dep for dep in definition["deps"] if "genotype.json" in dep], stage
    assert not set(DEFINITIONS["train-timm"]["deps"]) & {"artifacts/decode", "artifacts/genotype"}


def test_a_change_of_the_search_cannot_retrain() -> None:
    assert SEARCHES | {"analyse"} == stages_run_again_by("midas/search/edge_pairs.py")
    assert "train" not in stages_run_again_by("midas/decode/decode.py")


def test_the_test_split_is_read_by_evaluate_alone() -> None:
    readers = [
        stage
        for stage, definition in DEFINITIONS.items()
        if any("test.safetensors" in dep for dep in definition["deps"])
    ]
    assert {command_of(stage) for stage in readers} == {"evaluate"}
    modules = [
        path.stem
        for path in (ROOT / "pipeline").rglob("*.py")
        if "test.safetensors" in strings_of(path)
    ]
    assert modules == ["evaluate"]


def strings_of(path: Path) -> set[str]:
    """Every string that stands in a module's code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def imported_by_name(graph: grimp.ImportGraph, module: str) -> set[str]:
    """The modules that a module imports by a string: ``import_module("midas.search.run")``."""
    path = file_of(module)
    if "import_module" not in path.read_text(encoding="utf-8"):
        return set()
    return strings_of(path) & graph.modules


def test_a_module_that_is_imported_by_a_string_is_seen(graph: grimp.ImportGraph) -> None:
    assert "midas.search.run" in imported_by_name(graph, "midas")


def test_no_module_imports_itself_by_way_of_others(graph: grimp.ImportGraph) -> None:
    edges = {
        module: graph.find_modules_directly_imported_by(module) | imported_by_name(graph, module)
        for module in sorted(graph.modules)
    }
    launcher = ast.parse((ROOT / "midas_cli.py").read_text(encoding="utf-8"))
    edges["midas_cli"] = {
        node.module
        for node in ast.walk(launcher)
        if isinstance(node, ast.ImportFrom) and node.module in graph.modules
    }
    assert {"pipeline.cli", "midas.zoo.model_folder"} <= edges["midas_cli"]
    for module in edges:
        if file_of(module).is_file() and module != "midas_cli":
            text = file_of(module).read_text(encoding="utf-8")
            assert "import midas_cli" not in text, module
            assert "from midas_cli" not in text, module
    graphlib.TopologicalSorter(edges).prepare()  # raises CycleError, which names the circle
