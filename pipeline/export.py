"""Stage `export@target`: from a model folder to a verified ONNX file in it."""

from typing import Annotated

import typer

from pipeline import layout


def command(target: Annotated[str, typer.Argument(help="One of `targets` in params.yaml.")]) -> None:
    """Write models/TARGET/model.onnx, proved equal to the network on the validation images, and predict.py."""
    from midas.bench.latency import latency
    from midas.data.prepared import load_meta, load_split
    from midas.deploy.export import ExportConfig
    from midas.deploy.folder import open_model_folder
    from midas.deploy.ship import MODEL, ship
    from midas.runs import files
    from pipeline import params

    folder = layout.MODELS / target
    config = params.section("export", ExportConfig)
    split, meta = load_split(layout.DATA / "val.safetensors"), load_meta(layout.DATA / "meta.json")
    parity = ship(folder, config, split, meta, _version())
    times = latency(open_model_folder(folder)[0], folder / MODEL, (3, meta.size, meta.size))
    files.write_json(folder / "latency.json", {**times, "sha256": parity["sha256"]})
    one = times["results"][0]
    print(
        f"export {target}: {parity['bytes'] / 1e6:.2f} MB, equal on {parity['images']} validation images (largest "
        f"difference {parity['relative_difference']:.1e} of the logit range), batch 1 in "
        f"{one['onnxruntime']['p50_ms']:.2f} ms (torch {one['torch']['p50_ms']:.2f} ms) -> {folder / MODEL}"
    )


def _version() -> str:
    """This package's version, or a word for a clone that was not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("midas-nas")
    except PackageNotFoundError:
        return "uninstalled"
