"""Packages of a verified model.onnx: a Triton model repository, and a web page."""

import json
import re
from pathlib import Path
from textwrap import dedent

from midas.deploy import predict
from midas.deploy.export_folder import MODEL
from midas.io import files
from midas.io.errors import ExportError

ORT_WEB = Path("node_modules/onnxruntime-web/dist")  # where `npm install onnxruntime-web` puts it
MAX_BATCH = 64
_PAGE = Path(__file__).with_name("web.html")
_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def write_triton(folder: Path, repository: Path) -> Path:
    """Add a model folder's ONNX file to a Triton model repository; return the folder written there.

    It holds config.pbtxt, labels.txt and 1/model.onnx. Other models in the repository stay.

    Raises:
        ExportError: model.onnx is missing, damaged, or not of this project.
    """
    model = _load_model(folder)
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", folder.resolve().name)
    graph_input = model.session.get_inputs()[0]
    input_type = "TYPE_FP32" if graph_input.type == "tensor(float)" else "TYPE_UINT8"
    sides = [side if isinstance(side, int) else -1 for side in graph_input.shape[1:]]
    config = dedent(f"""\
        name: "{name}"
        platform: "onnxruntime_onnx"
        max_batch_size: {MAX_BATCH}
        input {{
          name: "{graph_input.name}"
          data_type: {input_type}
          dims: {sides}
        }}
        output {{
          name: "{model.output}"
          data_type: TYPE_FP32
          dims: [{len(model.classes)}]
          label_filename: "labels.txt"
        }}
        dynamic_batching {{ max_queue_delay_microseconds: 500 }}
    """)
    labels = "".join(predict.printable(label) + "\n" for label in model.classes)
    out = repository / name
    files.write_text(out / "config.pbtxt", config)
    files.write_text(out / "labels.txt", labels)
    files.write_bytes(out / "1" / MODEL, (folder / MODEL).read_bytes())
    return out


def write_web(folder: Path, out: Path, runtime: Path = ORT_WEB) -> Path:
    """Write a static page that runs a model folder's ONNX file in the browser; return its path.

    `runtime` is the folder `dist` of the npm package onnxruntime-web, which is copied too.

    Raises:
        ExportError: the runtime is missing, or model.onnx is missing or not of this project.
    """
    model = _load_model(folder)
    if missing := [name for name in _RUNTIME if not (runtime / name).is_file()]:
        raise ExportError(
            f"{runtime}: {', '.join(missing)} of onnxruntime-web not found; "
            "run `npm install onnxruntime-web` here, or name its folder dist with --ort-web"
        )
    keys = ("classes", "resize", "mean", "std", "input", "output", "temperature", "threshold")
    description = {key: getattr(model, key) for key in keys}
    description["size"] = [3, model.height, model.width]
    for name in _RUNTIME:
        files.write_bytes(out / name, (runtime / name).read_bytes())
    files.write_text(out / "model.json", json.dumps(description, ensure_ascii=False) + "\n")
    files.write_bytes(out / MODEL, (folder / MODEL).read_bytes())
    files.write_bytes(out / "index.html", _PAGE.read_bytes())
    return out / "index.html"


def _load_model(folder: Path) -> predict.Model:
    try:
        return predict.load_model(folder / MODEL)
    except predict.PredictError as error:
        raise ExportError(f"{error}; run the export stage (`dvc repro`)") from error
