"""Stage `export@target`: from a model folder to a verified ONNX file in it."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import paths
from pipeline.names import Target
from pipeline.summary_table import Fact, Summary


def command(
    target: Target,
    *,
    triton: Annotated[
        Path | None, typer.Option(help="Only write the model into this Triton repository.")
    ] = None,
    web: Annotated[
        Path | None, typer.Option(help="Only write a web page that runs the model.")
    ] = None,
    ort_web: Annotated[
        Path, typer.Option(help="Folder dist of the npm package onnxruntime-web, for --web.")
    ] = Path("node_modules/onnxruntime-web/dist"),
) -> Summary | None:
    """Write model.onnx, proved equal to the network, and predict.py."""
    from midas.data.prepared import load_meta, load_split
    from midas.deploy.export import ExportConfig
    from midas.deploy.export_folder import ship
    from midas.deploy.latency import measure_latency
    from midas.deploy.serving import write_triton, write_web
    from pipeline import params

    folder = paths.MODELS / target
    if triton:
        print(write_triton(folder, triton))
    if web:
        page = write_web(folder, web, ort_web)
        print(f"{page}: serve it by `python -m http.server --directory {web}`")
    if triton or web:
        return None
    config = params.section("export", ExportConfig)
    split = load_split(paths.DATA / "val.safetensors")
    meta = load_meta(paths.DATA / "meta.json")
    calibration = None
    if config.needs_training:
        calibration = load_split(paths.DATA / "train.safetensors").images
    parity = ship(folder, config, split, meta, version("midas-nas"), calibration)
    first = measure_latency(folder)["results"][0]
    columns: dict[str, Any] = {
        target: {
            "size": Fact(parity["bytes"] / 1e6, ".2f", " MB"),
            "validation images compared": parity["images"],
            "same class on": Fact(parity["class_agreement"], ".2%"),
            "largest difference, of the range": Fact(parity["relative_difference"], ".1e"),
            "temperature": Fact(parity["calibration"]["temperature"], ".3f"),
            "one image, ONNX Runtime": Fact(first["onnxruntime"]["p50_ms"], ".2f", " ms"),
            "one image, torch": Fact(first["torch"]["p50_ms"], ".2f", " ms"),
        }
    }
    for kind, variant in parity.get("variants", {}).items():
        columns[kind] = {
            "size": Fact(variant["bytes"] / 1e6, ".2f", " MB"),
            "same class on": Fact(variant["class_agreement"], ".2%"),
            "validation accuracy lost": Fact(variant["accuracy_loss"], ".2%"),
            "may lose": Fact(config.max_accuracy_loss, ".2%"),
            "shipped": "yes" if variant["shipped"] else "no",
        }
    return Summary("export", columns, folder)
