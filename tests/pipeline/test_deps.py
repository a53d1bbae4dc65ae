"""dvc.yaml names, for each stage, every module that its command imports; and nothing that would retrain for nothing."""

from pathlib import Path

import grimp
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEFINITIONS = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """The import graph, imports inside functions included."""
    return grimp.build_graph("midas", "pipeline")


def file_of(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(graph: grimp.ImportGraph, stage: str) -> set[Path]:
    """The files of the stage's own module and of everything that it imports, directly or not; kernels with their C."""
    start = f"pipeline.{stage}"
    files = {file_of(module) for module in graph.find_upstream_modules(start) | {start}}
    return files | {f.with_suffix(".c") for f in files if f.with_suffix(".c").exists()}


def named(stage: str) -> list[Path]:
    return [ROOT / dep for dep in DEFINITIONS[stage]["deps"] if dep.startswith(("midas/", "pipeline/"))]


@pytest.mark.parametrize("stage", DEFINITIONS)
def test_a_stages_deps_name_every_module_that_its_command_imports(stage: str, graph: grimp.ImportGraph) -> None:
    deps = named(stage)
    assert all(dep.exists() for dep in deps)
    missing = [f for f in imported(graph, stage) if not any(f == dep or dep in f.parents for dep in deps)]
    assert missing == []


@pytest.mark.parametrize("stage", DEFINITIONS)
def test_no_dep_is_named_that_the_command_does_not_import(stage: str, graph: grimp.ImportGraph) -> None:
    files = imported(graph, stage)
    assert [dep for dep in named(stage) if not any(f == dep or dep in f.parents for f in files)] == []


def test_a_change_of_the_search_cannot_retrain_and_a_change_of_the_networks_does() -> None:
    assert not any("search" in dep.parts for dep in named("train"))
    assert ROOT / "midas/nets" in named("train")
    assert not any("nets" in dep.parts for dep in named("search"))


def test_the_test_split_is_read_by_evaluate_alone() -> None:
    readers = [stage for stage, d in DEFINITIONS.items() if any("test.safetensors" in dep for dep in d["deps"])]
    assert readers == ["evaluate"]
    modules = [
        p.stem
        for p in (ROOT / "pipeline").glob("*.py")
        if "test.safetensors" in p.read_text().replace("val and test.", "")
    ]
    assert [m for m in modules if m != "layout"] == ["evaluate"]
