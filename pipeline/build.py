"""Stage `build@target`: from genotype and trained weights to a folder that timm loads."""

from typing import Any

from pipeline import layout
from pipeline.names import Target


def command(target: Target) -> None:
    """Write models/TARGET from the seed with the best validation accuracy, and the seeds side by side."""
    from midas.data.prepared import load_meta
    from midas.genotype import load_genotype
    from midas.nets.card import model_card
    from midas.nets.folder import build_trained, save_model_folder
    from midas.runs import files
    from midas.runs.summary import Fact, summarise
    from midas.train.config import TargetConfig
    from midas.train.seeds import compare_seeds, seed_rows
    from midas.train.store import load_weights
    from pipeline import params

    config, seeds = params.section(f"targets.{target}", TargetConfig), params.training_seeds()
    genotype = load_genotype(layout.written(layout.GENOTYPE / "genotype.json", "decode"))
    provenance = files.read_json(layout.GENOTYPE / "provenance.json")
    meta = load_meta(layout.DATA / "meta.json")
    trained = {seed: _metrics(target, seed) for seed in seeds}
    over = compare_seeds(list(trained.values()))
    kept = over["kept_seed"]
    weights = load_weights(layout.training(target, kept) / "best.safetensors", meta.fingerprint)
    size = {**config.model_dump(include={"cells", "skeleton"}), "channels": over["channels"]}
    model = build_trained(genotype, weights, meta, **size)
    how = {**config.model_dump(mode="json"), "seeds": seeds, "kept_seed": kept}
    card = model_card(target, model, genotype, meta, trained[kept], {**provenance, "training": how})
    folder = layout.MODELS / target
    save_model_folder(folder, model, genotype, meta, card)
    files.write_json(layout.BUILD / target / "metrics.json", over)
    files.write_csv(layout.BUILD / target / "seeds.csv", seed_rows(list(trained.values())))
    facts = {
        "parameters": over["parameters"],
        "multiply-adds": over["macs"],
        "cell": genotype.hash[:12],
        "kept": f"seed {kept}",
        **{
            f"validation accuracy, {epoch} epoch, mean of seeds": Fact(over[key]["mean"], ".2%", _spread(over[key]))
            for epoch, key in (("best", "best_val_accuracy"), ("last", "last_val_accuracy"))
        },
    }
    summarise("build", {target: facts}, folder)


def _metrics(target: str, seed: int) -> Any:
    """What came out of one training."""
    from midas.runs import files

    return files.read_json(layout.written(layout.training(target, seed) / "metrics.json", f"train@{target}-{seed}"))


def _spread(accuracy: dict[str, float | None]) -> str:
    """The deviation of several seeds, in words; nothing for one."""
    return "" if accuracy["deviation"] is None else f" ± {accuracy['deviation']:.2%}"
