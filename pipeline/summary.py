"""`midas summary`: what the last run left, in two short tables. `make repro` ends with it."""

from typing import Any

from pipeline import paths
from pipeline.summary_table import Fact, Summary

SHORT = 5_000  # steps; the cell of a shorter search says little on its own


def command() -> None:
    """Show what the last run left."""
    from midas.io import files
    from pipeline import console, targets
    from pipeline.run_stage import version_warning

    sections = targets.sections()
    search: dict[str, Any] = {"steps": 0}
    selected: dict[str, Any] = {"seeds": []}
    if "targets" in sections.values():  # no model of timm needs a search
        search = files.read_json(paths.written(paths.GENOTYPE / "metrics.json"))
        selected = files.read_json(paths.GENOTYPE / "select.json")
    models = {target: _facts(target) for target in sections}
    seeds = len(selected["seeds"])
    if seeds:
        facts: dict[str, Any] = {"steps a seed": search["steps"]}
        if seeds > 1:
            facts["edges that all seeds share"] = Fact(search["agreement"], ".0%")
        facts["margin between the best two operations"] = Fact(search["margin"], ".4f")
        facts["kept"] = f"seed {selected['kept_seed']}"
        columns = {"1 seed" if seeds == 1 else f"{seeds} seeds": facts}
        console.show(Summary("search", columns, paths.GENOTYPE), always=True)
    console.show(Summary("model", models, paths.MODELS), always=True)
    if console.form() == "json":
        return
    if 0 < search["steps"] < SHORT:
        print("A short search: docs/method.md says what to expect of it.")
    print(version_warning(), end="")
    # DVC does not bring the page back from its cache, since it shows times
    page = paths.REPORT / "index.html"
    print(f"The report: {page}" if page.is_file() else f"`midas report` writes {page}")
    print(f"Try it: python {paths.MODELS / next(iter(sections))}/predict.py IMAGE...")


def _facts(target: str) -> dict[str, Any]:
    from midas.deploy.latency import known_latency
    from midas.io import files
    from pipeline.build import deviation_text

    folder = paths.MODELS / target
    tested = files.read_json(paths.written(paths.EVALUATE / target / "details.json"))
    trained = files.read_json(paths.written(paths.BUILD / target / "metrics.json"))
    parity = files.read_json(paths.written(folder / "parity.json"))
    first = known_latency(folder)["results"][0]
    accuracy = trained["best_val_accuracy"]
    return {
        "test images": tested["images"],
        "accuracy, torch": Fact(tested["accuracy_torch"], ".2%"),
        "accuracy, ONNX": Fact(tested["accuracy_onnx"], ".2%"),
        "same class on": Fact(tested["class_agreement"], ".2%"),
        "largest difference, of the range": Fact(tested["relative_difference"], ".0e"),
        "validation accuracy": Fact(accuracy["mean"], ".2%", deviation_text(accuracy)),
        "parameters": trained["parameters"],
        "ONNX file": Fact(parity["bytes"] / 1e6, ".2f", " MB"),
        "one image, ONNX Runtime": Fact(first["onnxruntime"]["p50_ms"], ".2f", " ms"),
        "one image, torch": Fact(first["torch"]["p50_ms"], ".2f", " ms"),
    }
