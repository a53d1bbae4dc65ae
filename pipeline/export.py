"""Stage `export@target`: from a model folder to a verified ONNX file in it."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import layout
from pipeline.names import Target


def command(
    target: Target,
    *,
    triton: Annotated[
        Path | None, typer.Option(help="Write the exported model into this Triton repository, and do nothing else.")
    ] = None,
    web: Annotated[
        Path | None, typer.Option(help="Write a web page that runs the exported model, and do nothing else.")
    ] = None,
    ort_web: Annotated[
        Path, typer.Option(help="The folder dist of the npm package onnxruntime-web, for --web.")
    ] = Path("node_modules/onnxruntime-web/dist"),
) -> None:
    """Write models/TARGET/model.onnx, proved equal to the network on the validation images, and predict.py."""
    if triton or web:
        _package(layout.MODELS / target, triton, web, ort_web)
    else:
        _export(target)


def _package(folder: Path, triton: Path | None, web: Path | None, ort_web: Path) -> None:
    """What was exported, where it is served from."""
    from midas.deploy.packages import write_triton, write_web

    if triton:
        print(write_triton(folder, triton))
    if web:
        page = write_web(folder, web, ort_web)
        print(f"{page}: serve it by `python -m http.server --directory {web}`")


def _export(target: str) -> None:
    """The stage."""
    from midas.bench.latency import latency
    from midas.data.prepared import load_meta, load_split
    from midas.deploy.export import ExportConfig
    from midas.deploy.folder import open_model_folder
    from midas.deploy.ship import MODEL, find_variants, ship
    from midas.runs import files
    from midas.runs.summary import Fact, summarise
    from pipeline import params

    folder = layout.MODELS / target
    config = params.section("export", ExportConfig)
    split, meta = load_split(layout.DATA / "val.safetensors"), load_meta(layout.DATA / "meta.json")
    training = load_split(layout.DATA / "train.safetensors").images if "int8" in config.variants else None
    parity = ship(folder, config, split, meta, _version(), training)
    model = open_model_folder(folder)[0]
    times = latency(model, folder / MODEL, (3, meta.size, meta.size), variants=find_variants(folder))
    files.write_json(folder / "latency.json", {**times, "sha256": parity["sha256"]})
    one = times["results"][0]
    columns = {
        target: {
            "size": Fact(parity["bytes"] / 1e6, ".2f", " MB"),
            "validation images compared": parity["images"],
            "same class on": Fact(parity["class_agreement"], ".2%"),
            "largest difference, of the range": Fact(parity["relative_difference"], ".1e"),
            "one image, ONNX Runtime": Fact(one["onnxruntime"]["p50_ms"], ".2f", " ms"),
            "one image, torch": Fact(one["torch"]["p50_ms"], ".2f", " ms"),
        }
    }
    for kind, found in parity.get("variants", {}).items():
        columns[kind] = {
            "size": Fact(found["bytes"] / 1e6, ".2f", " MB"),
            "same class on": Fact(found["class_agreement"], ".2%"),
            "validation accuracy lost": Fact(found["accuracy_loss"], ".2%"),
            "may lose": Fact(config.max_accuracy_loss, ".2%"),
            "shipped": "yes" if found["shipped"] else "no",
        }
    summarise("export", columns, folder)


def _version() -> str:
    """This package's version, or a word for a clone that was not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("midas-nas")
    except PackageNotFoundError:
        return "uninstalled"
