"""A proved model.onnx where people serve it from: a Triton model repository, and a static page for the browser."""

import json
import re
from pathlib import Path

from midas.deploy import predict
from midas.deploy.ship import MODEL
from midas.runs import files
from midas.runs.errors import ExportError

_PAGE = Path(__file__).with_name("web.html")
ORT_WEB = Path("node_modules/onnxruntime-web/dist")  # where `npm install onnxruntime-web` puts it
_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
MAX_BATCH = 64


def write_triton(folder: Path, repository: Path) -> Path:
    """Write a model folder's ONNX file as a model of a Triton repository: config.pbtxt, labels.txt, 1/model.onnx.

    Args:
        folder: models/NAME with its model.onnx.
        repository: the repository's folder; other models in it are left alone.

    Returns:
        The model's folder in it.

    Raises:
        ExportError: there is no ONNX file of this project.
    """
    model = load_exported(folder)
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", folder.resolve().name)
    graph_input, graph_output = model.session.get_inputs()[0], model.session.get_outputs()[0]
    sides = [side if isinstance(side, int) else -1 for side in graph_input.shape[1:]]
    config = f"""\
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {MAX_BATCH}
input [
  {{
    name: "{graph_input.name}"
    data_type: {"TYPE_FP32" if graph_input.type == "tensor(float)" else "TYPE_UINT8"}
    dims: {sides}
  }}
]
output [
  {{
    name: "{graph_output.name}"
    data_type: TYPE_FP32
    dims: {[len(model.classes)]}
    label_filename: "labels.txt"
  }}
]
dynamic_batching {{
  max_queue_delay_microseconds: 500
}}
"""
    out = repository / name
    files.write_text(out / "config.pbtxt", config)
    files.write_text(out / "labels.txt", "".join(predict.printable(label) + "\n" for label in model.classes))
    files.write_bytes(out / "1" / MODEL, (folder / MODEL).read_bytes())
    return out


def write_web(folder: Path, out: Path, runtime: Path = ORT_WEB) -> Path:
    """Write a static page that runs a model folder's ONNX file in the browser, from the files beside it.

    Args:
        folder: models/NAME with its model.onnx.
        out: the page's folder: index.html, model.json, model.onnx, and the runtime.
        runtime: the folder `dist` of the npm package onnxruntime-web.

    Returns:
        The page.

    Raises:
        ExportError: there is no ONNX file of this project, or the runtime is not there.
    """
    model = load_exported(folder)
    if missing := [name for name in _RUNTIME if not (runtime / name).is_file()]:
        raise ExportError(
            f"{runtime}: {', '.join(missing)} of onnxruntime-web not found; run `npm install onnxruntime-web` here, or say "
            "--ort-web where its folder dist is"
        )
    description = {
        "classes": model.classes,
        "size": [3, model.height, model.width],
        "resize": model.resize,
        "mean": model.mean,
        "std": model.std,
        "input": model.input,
        "output": model.output,
    }
    out.mkdir(parents=True, exist_ok=True)
    for name in _RUNTIME:
        files.write_bytes(out / name, (runtime / name).read_bytes())
    files.write_text(out / "model.json", json.dumps(description, ensure_ascii=False) + "\n")
    files.write_bytes(out / MODEL, (folder / MODEL).read_bytes())
    files.write_bytes(out / "index.html", _PAGE.read_bytes())
    return out / "index.html"


def load_exported(folder: Path) -> predict.Model:
    """A model folder's ONNX file with what its metadata say.

    Raises:
        ExportError: there is none, or it is not one of this project in one whole piece.
    """
    try:
        return predict.load_model(folder / MODEL)
    except predict.PredictError as error:
        raise ExportError(f"{error}; run the export stage (`dvc repro`)") from error
