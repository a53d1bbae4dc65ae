"""`midas summary`: what the last run left, in one short table. `make repro` ends with it."""

from pathlib import Path
from typing import Any

from pipeline import layout


def command() -> None:
    """Print, for each target, where its model is, its accuracies, parity, size and latency; and how the search agreed."""
    from rich.console import Console
    from rich.table import Table

    from midas.runs import files
    from pipeline import params, versions

    targets, found = params.value("targets", dict[str, Any]), files.read_json(layout.GENOTYPE / "metrics.json")
    print(
        f"\nSearch: {found['steps']} steps for each of {found['seeds']} seeds; the seeds agree on {found['agreement']:.0%} of "
        f"the edges; kept is seed {found['kept_seed']}.{_short(found)}\nIts cells: {layout.GENOTYPE / 'cells.svg'}\n"
    )
    table = Table(
        *(
            "model",
            "torch",
            "ONNX",
            "test images, largest difference",
            "parameters",
            "ONNX file",
            "batch 1, ONNX (torch)",
        )
    )
    for target in targets:
        table.add_row(*_row(target))
    Console(width=max(130, Console().width)).print(table)
    print(f"{versions.warning()}{_report()}\nTry it: python {layout.MODELS / next(iter(targets))}/predict.py IMAGE...")


def _short(found: dict[str, Any]) -> str:
    """A word of caution where the search was too short to be believed on its own."""
    return " A short search: see README, 'How far to trust a search'." if found["steps"] < 5_000 else ""


def _report() -> str:
    """Where the report is, or how to make it: DVC does not bring it back from the cache, since it shows times."""
    page = layout.REPORT / "index.html"
    return f"The report: {page}" if page.is_file() else f"The report: `midas report` writes {page}"


def _row(target: str) -> list[str]:
    """One target's line of the table."""
    from midas.runs import files

    folder = layout.MODELS / target
    tested = files.read_json(layout.EVALUATE / target / "metrics.json")
    trained, parity = files.read_json(layout.TRAIN / target / "metrics.json"), files.read_json(folder / "parity.json")
    first = _latency(folder, parity)["results"][0]
    return [
        str(folder),
        f"{tested['accuracy_torch']:.2%}",
        f"{tested['accuracy_onnx']:.2%}",
        f"same class on all {tested['images']}, {tested['relative_difference']:.0e}",
        f"{trained['parameters']:,}",
        f"{parity['bytes'] / 1e6:.2f} MB",
        f"{first['onnxruntime']['p50_ms']:.2f} ms ({first['torch']['p50_ms']:.2f} ms)",
    ]


def _latency(folder: Path, parity: dict[str, Any]) -> dict[str, Any]:
    """What `export` measured on this machine; measured now where the model came from the cache or a remote."""
    from midas.runs import files

    path = folder / "latency.json"
    if path.is_file() and (known := files.read_json(path)).get("sha256") == parity["sha256"]:
        return dict(known)
    from midas.bench.latency import latency
    from midas.deploy.folder import open_model_folder
    from midas.deploy.ship import MODEL, find_variants

    model, description = open_model_folder(folder)
    measured = {
        **latency(
            model, folder / MODEL, tuple(description["pretrained_cfg"]["input_size"]), variants=find_variants(folder)
        ),
        "sha256": parity["sha256"],
    }
    files.write_json(path, measured)
    return measured
