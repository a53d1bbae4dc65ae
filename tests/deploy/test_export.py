"""One ONNX file: what is in it, what is not, and that it is the same every time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from pydantic import ValidationError
from small_models import SIZE, normal_images, small

from midas.deploy.export import ExportConfig, describe, export_onnx
from midas.deploy.runtimes import run_onnx, run_torch
from midas.io.errors import ExportError

INPUT_SIZE = (3, SIZE, SIZE)
CONFIG = {
    "label_names": ["a", "b", "ç"],
    "pretrained_cfg": {
        "input_size": [3, 16, 16],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "crop_pct": 1.0,
    },
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_onnx(small(), path, input_size=INPUT_SIZE, metadata={"b": "2", "a": "1"})
    return path


def test_the_file_has_one_named_input_and_output_and_a_dynamic_batch(exported: Path) -> None:
    graph = onnx.load(exported).graph
    axes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.output)
    }
    assert axes == {"image": ["batch", 3, SIZE, SIZE], "logits": ["batch", 3]}


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_it_computes_what_the_network_computes(exported: Path, batch: int) -> None:
    images = normal_images(batch)
    torch.testing.assert_close(run_onnx(exported, images, batch), run_torch(small(), images, batch))


def test_it_has_our_metadata_and_no_trace_of_the_exporting_machine(exported: Path) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    assert metadata == {"a": "1", "b": "2"}
    content = exported.read_bytes()
    paths = (str(Path.cwd()), str(Path(torch.__file__).parent))
    for trace in (*paths, "site-packages", "small_models.py", "stack_trace", "Small"):
        assert trace.encode() not in content, trace


def test_it_is_one_file_little_larger_than_its_weights(exported: Path) -> None:
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]
    weights = sum(parameter.numel() * 4 for parameter in small().parameters())
    assert exported.stat().st_size < weights * 1.05 + 200 * 1024


def test_another_process_in_another_folder_writes_the_same_bytes(
    exported: Path, tmp_path: Path
) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from small_models import SIZE, small\n"
        "from midas.deploy.export import export_onnx\n"
        "metadata = {'a': '1', 'b': '2'}\n"
        "path = Path('again.onnx')\n"
        "export_onnx(small(), path, input_size=(3, SIZE, SIZE), metadata=metadata)\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path.cwd())}
    run = subprocess.run(
        command, cwd=tmp_path, text=True, capture_output=True, env=environment, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", ""), "it is silent"
    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()


def test_the_chosen_opset_is_written(tmp_path: Path) -> None:
    export_onnx(small(), tmp_path / "m.onnx", input_size=INPUT_SIZE, metadata={}, opset=18)
    opsets = onnx.load(tmp_path / "m.onnx").opset_import
    assert [entry.version for entry in opsets if entry.domain == ""] == [18]


def test_an_opset_that_the_exporter_silently_replaces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"torch .* wrote opset 18 in place of 17"):
        export_onnx(small(), tmp_path / "m.onnx", input_size=INPUT_SIZE, metadata={}, opset=17)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["model", "one layer"])
def test_a_model_in_training_mode_is_refused(part: str, tmp_path: Path) -> None:
    model = small()
    (model if part == "model" else model.norm).train()
    with pytest.raises(ExportError, match="training mode"):
        export_onnx(model, tmp_path / "m.onnx", input_size=INPUT_SIZE, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_float32_are_refused_by_name(tmp_path: Path) -> None:
    model = small()
    model.head.half()
    with pytest.raises(ExportError, match=r"head\.weight is torch\.float16"):
        export_onnx(model, tmp_path / "m.onnx", input_size=INPUT_SIZE, metadata={})


def test_the_metadata_say_classes_and_preprocessing() -> None:
    metadata = describe(CONFIG, "hash", "1.0")
    assert json.loads(metadata["midas_classes"]) == ["a", "b", "ç"]
    assert json.loads(metadata["midas_input"]) == {
        "size": [3, 16, 16],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "resize": 16,
        "interpolation": "bilinear",
        "crop": "center",
        "input": "float32",
        "output": "logits",
    }
    assert (metadata["midas_genotype_hash"], metadata["midas_version"]) == ("hash", "1.0")


@pytest.mark.parametrize(
    "bad", [{"opset": 17}, {"opset": 24}, {"tolerance": 0}, {"quantise": True}]
)
def test_parameters_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ExportConfig.model_validate(bad)
