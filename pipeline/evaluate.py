"""Stage `evaluate@target`: the test. No other stage reads the test split."""

from typing import Any

from pipeline import paths
from pipeline.names import Target
from pipeline.summary_table import Fact, Summary

MISTAKES = 24  # the worst ones, kept with their pixels for the report


def command(target: Target) -> Summary:
    """Test the network and its ONNX files; fails where they differ."""
    from midas.data.prepared import Split, load_meta, load_split, save_split
    from midas.deploy.export import ExportConfig
    from midas.deploy.export_folder import MODEL, find_variants
    from midas.deploy.onnx_evaluation import evaluate, worst_mistakes
    from midas.io import files
    from midas.nets.build import count_macs, count_parameters
    from midas.zoo.model_folder import check_data, open_model_folder
    from pipeline import params

    folder = paths.MODELS / target
    out = paths.EVALUATE / target
    config = params.section("export", ExportConfig)
    split = load_split(paths.DATA / "test.safetensors")
    meta = load_meta(paths.DATA / "meta.json")
    model, description = open_model_folder(folder)
    check_data(folder, description, meta)
    interface = config.interface(meta.mean, meta.std)
    variants = find_variants(folder)
    result = evaluate(model, folder / MODEL, split, meta, config.tolerance, interface, variants)
    details = result.metrics
    metrics = {  # the few that people compare
        "accuracy": details["accuracy_onnx"],
        "class_agreement": details["class_agreement"],
        "parameters": count_parameters(model),
        "macs": count_macs(model, (3, meta.size, meta.size)),
        "bytes": (folder / MODEL).stat().st_size,
    }
    worst = worst_mistakes(result.predictions, MISTAKES)
    files.write_csv(out / "predictions.csv", result.predictions)
    files.write_json(out / "details.json", details)
    files.write_json(out / "metrics.json", metrics)
    mistakes = {"images": worst, "sha256": files.sha256(folder / MODEL)}
    files.write_json(out / "mistakes.json", mistakes)
    save_split(out / "mistakes.safetensors", Split(split.images[worst], split.labels[worst]))
    return Summary("evaluate", _columns(target, details), out)


def _columns(target: str, details: dict[str, Any]) -> dict[str, Any]:
    """What is shown: the network with its file, and each variant."""
    facts = {
        "test images": details["images"],
        "accuracy, torch": Fact(details["accuracy_torch"], ".2%"),
        "accuracy, ONNX": Fact(details["accuracy_onnx"], ".2%"),
        "same class on": Fact(details["class_agreement"], ".2%"),
        "largest difference, of the range": Fact(details["relative_difference"], ".1e"),
    }
    if "top5_onnx" in details:
        facts["among the first five, ONNX"] = Fact(details["top5_onnx"], ".2%")
    columns: dict[str, Any] = {target: facts}
    for kind, variant in details.get("variants", {}).items():
        columns[kind] = {
            "accuracy, ONNX": Fact(variant["accuracy"], ".2%"),
            "same class on": Fact(variant["class_agreement"], ".2%"),
        }
    return columns
