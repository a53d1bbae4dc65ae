"""Nothing that this project reads is unpickled, evaluated or unpacked."""

import ast
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from midas.data.arrays import npz
from midas.data.config import DataConfig
from midas.data.prepare import open_source
from midas.engine.checkpoint import Checkpoint
from midas.io.errors import DataError

ROOT = Path(__file__).parents[2]
SOURCES = [
    *ROOT.glob("midas/**/*.py"),
    *ROOT.glob("pipeline/**/*.py"),
    *ROOT.glob("benchmarks/*.py"),
    ROOT / "midas_cli.py",
]
# libraries that unpickle or unpack, and the one module that may ask them to (SECURITY.md says under
# which conditions)
UNPICKLING = {
    "nats_bench": "midas/analysis/nasbench201.py",
    "torchvision.datasets": "midas/data/arrays.py",
    "tarfile": "midas/data/shards.py",  # which reads members in their place
}
FORBIDDEN = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
SAFE = {"torch.load": "weights_only=True", "np.load": "allow_pickle=False"}
CALLS = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "shutil.unpack_archive",
}


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def faults(path: Path) -> Iterator[str]:
    name = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for module in imported(node):
            if module.split(".")[0] in FORBIDDEN or UNPICKLING.get(module, name) != name:
                yield f"{name} imports {module}"
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        options = {ast.unparse(keyword) for keyword in node.keywords}
        if (
            function in CALLS
            or function.endswith((".extractall", ".extract"))
            or "shell=True" in options
        ):
            yield f"{name} calls {function}"
        if SAFE.get(function, "") not in {"", *options}:
            yield f"{name} calls {function} without {SAFE[function]}"


def test_nothing_in_the_tree_unpickles_evaluates_or_unpacks() -> None:
    assert len(SOURCES) > 80
    assert [fault for path in SOURCES for fault in faults(path)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(f)",
        "eval(x)",
        "archive.extractall()",
        "run(c, shell=True)",
    ],
)
def test_the_check_would_see_it(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "bad.py").write_text(code)
    assert list(faults(tmp_path / "bad.py"))


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.made}",)


def test_a_pickle_in_the_place_of_a_checkpoint_is_not_run_and_counts_as_none(
    tmp_path: Path,
) -> None:
    for save in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        checkpoint = Checkpoint(tmp_path, "print")
        save({"state": Evil(tmp_path / "pwned")}, checkpoint.path)
        assert checkpoint.load() is None
    assert not (tmp_path / "pwned").exists()


def test_an_array_of_pickled_objects_is_not_run(tmp_path: Path) -> None:
    evil = np.array([Evil(tmp_path / "pwned")], dtype=object)
    np.savez(tmp_path / "a.npz", images=evil, labels=np.zeros(1, dtype=np.int64))
    with pytest.raises(DataError, match="without pickled objects"):
        npz(tmp_path / "a.npz")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("cifar10", ("data_batch_1", "test_batch", "batches.meta")),
        ("cifar100", ("train", "test", "meta")),
    ],
)
def test_a_cifar_file_of_another_hash_is_not_run(
    source: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / ("cifar-10-batches-py" if source == "cifar10" else "cifar-100-python")
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(pickle.dumps(Evil(tmp_path / "pwned")))
    with pytest.raises(DataError, match="missing or damaged"):
        open_source(DataConfig.model_validate({"source": source, "root": str(tmp_path)}))
    assert not (tmp_path / "pwned").exists()
