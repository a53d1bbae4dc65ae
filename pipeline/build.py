"""Stage `build@target`: from genotype and trained weights to a folder that timm loads."""

from pathlib import Path

from pipeline import paths
from pipeline.names import Target
from pipeline.summary_table import Fact, Summary


def command(target: Target) -> Summary:
    """Write models/TARGET from the best training seed."""
    from midas.data.prepared import load_meta, with_normalisation
    from midas.genotype import load_genotype
    from midas.io import files
    from midas.nets import timm_models
    from midas.train.config import TaughtTargetConfig, TimmTargetConfig
    from midas.train.store import compare_seeds, load_weights, seed_rows
    from midas.zoo.card import model_card
    from midas.zoo.model_folder import build_trained, save_model_folder, with_trained
    from pipeline import params, targets

    config = targets.config(target)
    seeds = params.value("training_seeds", params.Seeds)
    prepared = load_meta(paths.DATA / "meta.json")
    trained = {}
    for seed in seeds:
        path = paths.training(target, seed) / "metrics.json"
        trained[seed] = files.read_json(paths.written(path, f"train@{target}-{seed}"))
    compared = compare_seeds(list(trained.values()))
    kept = compared["kept_seed"]
    meta = with_normalisation(prepared, trained[kept])
    weights = load_weights(paths.training(target, kept) / "best.safetensors", meta.fingerprint)
    genotype = None
    if isinstance(config, TimmTargetConfig):
        provenance = {"data_fingerprint": meta.fingerprint}
        network = timm_models.create(config.model, len(meta.classes), meta.size)
        model = with_trained(network, weights, meta)
    else:
        genotype = load_genotype(paths.written(paths.GENOTYPE / "genotype.json", "select"))
        provenance = files.read_json(paths.GENOTYPE / "provenance.json")
        size = config.model_dump(include={"cells", "skeleton"})
        model = build_trained(genotype, weights, meta, channels=compared["channels"], **size)
    training = {**config.model_dump(mode="json"), "seeds": seeds, "kept_seed": kept}
    if isinstance(config, TaughtTargetConfig):
        training["teacher"] = Path(params.value("teacher", str)).name
    origin = {**provenance, "training": training}
    card = model_card(target, model, genotype, meta, trained[kept], origin)
    folder = paths.MODELS / target
    save_model_folder(folder, model, genotype, meta, card, own_normalisation=meta != prepared)
    files.write_json(paths.BUILD / target / "metrics.json", compared)
    files.write_csv(paths.BUILD / target / "seeds.csv", seed_rows(list(trained.values())))
    facts = {
        "parameters": compared["parameters"],
        "multiply-adds": compared["macs"],
        "network": genotype.hash[:12] if genotype else training["model"],
        "kept": f"seed {kept}",
    }
    for epoch, key in (("best", "best_val_accuracy"), ("last", "last_val_accuracy")):
        accuracy = compared[key]
        name = f"validation accuracy, {epoch} epoch, mean of seeds"
        facts[name] = Fact(accuracy["mean"], ".2%", deviation_text(accuracy))
    return Summary("build", {target: facts}, folder)


def deviation_text(accuracy: dict[str, float | None]) -> str:
    """The deviation of several seeds; nothing for one."""
    return "" if accuracy["deviation"] is None else f" ± {accuracy['deviation']:.2%}"
