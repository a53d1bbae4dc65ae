"""Stage `train@target`: train the found cell as one target of params.yaml says."""

from typing import Annotated

import typer

from pipeline import layout


def command(target: Annotated[str, typer.Argument(help="One of `targets` in params.yaml.")]) -> None:
    """Train the found network; goes on from a checkpoint where there is one."""
    from midas.data.prepared import load_meta, load_split
    from midas.genotype import load_genotype
    from midas.runs import seeding
    from midas.train.config import TargetConfig
    from midas.train.loop import initial_network, train
    from midas.train.store import save_training
    from pipeline import params, stage

    seeding.deterministic()
    config = params.section(f"targets.{target}", TargetConfig)
    inputs = [
        layout.GENOTYPE / "genotype.json",
        *(layout.DATA / n for n in ("train.safetensors", "val.safetensors", "meta.json")),
    ]
    genotype, meta = load_genotype(inputs[0]), load_meta(inputs[3])
    checkpoint = stage.checkpoint("train", target, {"target": config.model_dump(mode="json")}, inputs)
    network = initial_network(genotype, config, len(meta.classes))
    result = train(network, config, load_split(inputs[1]), load_split(inputs[2]), meta, checkpoint, f"train {target}")
    folder = layout.TRAIN / target
    save_training(folder, result)
    checkpoint.clear()
    metrics = result.metrics
    print(
        f"train {target}: {metrics['epochs']} epochs, {metrics['parameters']:,} parameters, validation accuracy "
        f"{metrics['best_val_accuracy']:.4f} in epoch {metrics['best_epoch']} (the best), "
        f"{metrics['last_val_accuracy']:.4f} in the last -> {folder}"
    )
