"""Stage `build@target`: from genotype and trained weights to a folder that timm loads."""

from pipeline import layout
from pipeline.names import Target


def command(target: Target) -> None:
    """Write models/TARGET: genotype, configuration, the best epoch's weights, and the model card."""
    from midas.data.prepared import load_meta
    from midas.genotype import load_genotype
    from midas.nets.card import model_card
    from midas.nets.folder import build_trained, save_model_folder
    from midas.runs import files
    from midas.runs.summary import summarise
    from midas.train.config import TargetConfig
    from midas.train.store import load_weights
    from pipeline import params

    config = params.section(f"targets.{target}", TargetConfig)
    genotype = load_genotype(layout.GENOTYPE / "genotype.json")
    provenance = files.read_json(layout.GENOTYPE / "provenance.json")
    meta, trained = load_meta(layout.DATA / "meta.json"), layout.TRAIN / target
    weights, metrics = load_weights(trained / "best.safetensors"), files.read_json(trained / "metrics.json")
    size = {**config.model_dump(include={"cells", "skeleton"}), "channels": metrics["channels"]}
    model = build_trained(genotype, weights, meta, **size)
    origin = {**provenance, "training": config.model_dump(mode="json")}
    card = model_card(target, model, genotype, meta, metrics, origin)
    folder = layout.MODELS / target
    save_model_folder(folder, model, genotype, meta, card)
    facts = {"parameters": metrics["parameters"], "multiply-adds": metrics["macs"], "cell": genotype.hash[:12]}
    summarise("build", {target: facts}, folder)
