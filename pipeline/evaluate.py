"""Stage `evaluate@target`: the test. No other stage reads the test split."""

from pipeline import layout
from pipeline.names import Target

MISTAKES = 24  # of the worst, kept with their pixels for the report


def command(target: Target) -> None:
    """Classify the test images by the network and by its ONNX files; fails where network and model.onnx differ."""
    from midas.data.prepared import Split, load_meta, load_split, save_split
    from midas.deploy.evaluation import evaluate, worst_mistakes
    from midas.deploy.export import ExportConfig
    from midas.deploy.folder import check_data, open_model_folder
    from midas.deploy.ship import MODEL, find_variants
    from midas.runs import files
    from midas.runs.summary import Fact, summarise
    from pipeline import params

    folder, out = layout.MODELS / target, layout.EVALUATE / target
    config = params.section("export", ExportConfig)
    split, meta = load_split(layout.DATA / "test.safetensors"), load_meta(layout.DATA / "meta.json")
    model, description = open_model_folder(folder)
    check_data(folder, description, meta)
    interface, variants = config.interface(meta.mean, meta.std), find_variants(folder)
    found = evaluate(model, folder / MODEL, split, meta, config.tolerance, interface, variants)
    files.write_csv(out / "predictions.csv", found.predictions)
    files.write_json(out / "metrics.json", found.metrics)
    worst = worst_mistakes(found.predictions, MISTAKES)
    files.write_json(out / "mistakes.json", {"images": worst, "sha256": files.sha256(folder / MODEL)})
    save_split(out / "mistakes.safetensors", Split(split.images[worst], split.labels[worst]))
    metrics = found.metrics
    columns = {
        target: {
            "test images": metrics["images"],
            "accuracy, torch": Fact(metrics["accuracy_torch"], ".2%"),
            "accuracy, ONNX": Fact(metrics["accuracy_onnx"], ".2%"),
            **({"among the first five, ONNX": Fact(metrics["top5_onnx"], ".2%")} if "top5_onnx" in metrics else {}),
            "same class on": Fact(metrics["class_agreement"], ".2%"),
            "largest difference, of the range": Fact(metrics["relative_difference"], ".1e"),
        }
    }
    for kind, tested in metrics.get("variants", {}).items():
        columns[kind] = {
            "accuracy, ONNX": Fact(tested["accuracy"], ".2%"),
            "same class on": Fact(tested["class_agreement"], ".2%"),
        }
    summarise("evaluate", columns, out)
