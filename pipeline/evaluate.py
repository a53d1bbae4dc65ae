"""Stage `evaluate@target`: the test. No other stage reads the test split."""

from typing import Any

from pipeline import paths
from pipeline.names import Target
from pipeline.summary_table import Fact, Summary

MISTAKES = 24  # the worst ones, kept with their pixels for the report
SHOWN = {
    "test images": ("images", ","),
    "accuracy, torch": ("accuracy_torch", ".2%"),
    "accuracy, ONNX": ("accuracy_onnx", ".2%"),
    "same class on": ("class_agreement", ".2%"),
    "largest difference, of the range": ("relative_difference", ".1e"),
    "calibration error, before": ("ece_before", ".2%"),
    "calibration error": ("ece", ".2%"),
    "answered": ("coverage", ".2%"),
    "error among answered": ("answered_error", ".2%"),
    "among the first five, ONNX": ("top5_onnx", ".2%"),
}


def command(target: Target) -> Summary:
    """Test the network and its ONNX files; fails where they differ."""
    from midas.data.config import DataConfig
    from midas.data.prepare import original_images
    from midas.data.prepared import Split, load_meta, load_split, save_split
    from midas.deploy.export import ExportConfig, read_calibration, read_metadata
    from midas.deploy.export_folder import MODEL, find_variants
    from midas.deploy.familiarity import read_familiarity
    from midas.deploy.onnx_evaluation import compare_originals, evaluate, worst_mistakes
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
    meta = check_data(folder, description, meta)
    path = folder / MODEL
    metadata = read_metadata(path)
    answers = read_calibration(metadata)
    shipped = read_familiarity(model, metadata)
    interface = config.interface(meta.mean, meta.std, answers["temperature"])
    variants = find_variants(folder)
    threshold = answers.get("threshold")
    result = evaluate(shipped, path, split, meta, config.tolerance, interface, variants, threshold)
    details = result.metrics
    if config.input == "image":
        data = params.section("data", DataConfig)
        left_out = files.read_json(paths.DATA / "report.json")["unreadable"]
        originals = original_images(data, "test", [entry["image"] for entry in left_out])
        details["originals"] = compare_originals(path, originals, split, result.expected)
    metrics: dict[str, Any] = {  # the few that people compare
        "accuracy": details["accuracy_onnx"],
        "balanced_accuracy": details["balanced_accuracy"],
        "class_agreement": details["class_agreement"],
        "ece": details["ece"],
        **{key: details[key] for key in ("coverage", "answered_error") if key in details},
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
    facts = {
        name: Fact(details[key], spec)
        for name, (key, spec) in SHOWN.items()
        if details.get(key) is not None
    }
    if "originals" in details:
        agreement = details["originals"]["class_agreement"]
        facts["same class on original images"] = Fact(agreement, ".2%")
    columns: dict[str, Any] = {target: facts}
    for kind, variant in details.get("variants", {}).items():
        columns[kind] = {
            "accuracy, ONNX": Fact(variant["accuracy"], ".2%"),
            "same class on": Fact(variant["class_agreement"], ".2%"),
        }
    return columns
