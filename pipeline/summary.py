"""`midas summary`: what the last run left, in two short tables. `make repro` ends with it."""

from pathlib import Path
from typing import Any

from pipeline import layout


def command() -> None:
    """Show how the search agreed and, for each target, its accuracies, parity, size and latency; and what to do next."""
    from midas.runs import files
    from midas.runs.progress import form
    from midas.runs.summary import Fact, summarise
    from pipeline import params, versions

    targets = params.value("targets", dict[str, Any])
    found = files.read_json(layout.written(layout.GENOTYPE / "metrics.json"))
    if found["seeds"]:
        facts = {
            "steps a seed": found["steps"],
            **({"edges that all seeds share": Fact(found["agreement"], ".0%")} if found["seeds"] > 1 else {}),
            "margin between the best two operations": Fact(found["margin"], ".4f"),
            "kept": f"seed {found['kept_seed']}",
        }
        summarise("search", {f"{found['seeds']} seeds": facts}, layout.GENOTYPE / "cells.svg", always=True)
    summarise("model", {target: _facts(target) for target in targets}, layout.MODELS, always=True)
    if form() != "json":
        said = f"{_short(found)}{versions.warning()}{_report()}"
        print(f"{said}\nTry it: python {layout.MODELS / next(iter(targets))}/predict.py IMAGE...")


def _short(found: dict[str, Any]) -> str:
    """A word of caution where the search was too short to be believed on its own."""
    return "A short search: see README, 'How far to trust a search'.\n" if 0 < found["steps"] < 5_000 else ""


def _report() -> str:
    """Where the report is, or how to make it: DVC does not bring it back from the cache, since it shows times."""
    page = layout.REPORT / "index.html"
    return f"The report: {page}" if page.is_file() else f"The report: `midas report` writes {page}"


def _facts(target: str) -> dict[str, Any]:
    """One target's column of the table."""
    from midas.runs import files
    from midas.runs.summary import Fact

    folder = layout.MODELS / target
    tested = files.read_json(layout.written(layout.EVALUATE / target / "metrics.json"))
    trained, parity = files.read_json(layout.BUILD / target / "metrics.json"), files.read_json(folder / "parity.json")
    first = _latency(folder, parity)["results"][0]
    return {
        "test images": tested["images"],
        "accuracy, torch": Fact(tested["accuracy_torch"], ".2%"),
        "accuracy, ONNX": Fact(tested["accuracy_onnx"], ".2%"),
        "same class on": Fact(tested["class_agreement"], ".2%"),
        "largest difference, of the range": Fact(tested["relative_difference"], ".0e"),
        "validation accuracy": Fact(trained["best_val_accuracy"]["mean"], ".2%", _spread(trained)),
        "parameters": trained["parameters"],
        "ONNX file": Fact(parity["bytes"] / 1e6, ".2f", " MB"),
        "one image, ONNX Runtime": Fact(first["onnxruntime"]["p50_ms"], ".2f", " ms"),
        "one image, torch": Fact(first["torch"]["p50_ms"], ".2f", " ms"),
    }


def _spread(trained: dict[str, Any]) -> str:
    """The deviation over several training seeds, in words."""
    deviation = trained["best_val_accuracy"]["deviation"]
    return "" if deviation is None else f" ± {deviation:.2%} ({trained['seeds']} seeds; the best was built)"


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
