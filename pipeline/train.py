"""Stage `train@target-seed`: train the found cell as one target of params.yaml says."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import launch, layout, names
from pipeline.names import TrainingSeed, TrainingTarget


def command(
    target: TrainingTarget,
    seed: TrainingSeed = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and train nothing.")] = False,
) -> None:
    """Train the found network; goes on from a checkpoint where there is one."""
    training = names.training(target, seed)
    target, seed = training
    if not dry_run and launch.launched("train", target, str(seed)):
        return
    from midas.data.prepared import load_meta, load_split
    from midas.genotype import load_genotype
    from midas.runs import memory, seeding, world
    from midas.runs.summary import Fact, summarise
    from midas.train.config import TargetConfig
    from midas.train.cost import estimate
    from midas.train.loop import train
    from midas.train.start import initial_network
    from midas.train.store import save_training
    from pipeline import params, stage

    memory.keep_freed()
    seeding.deterministic()
    config = params.section(f"targets.{target}", TargetConfig)
    inputs = [
        layout.written(layout.GENOTYPE / "genotype.json", "decode"),
        *(layout.DATA / n for n in ("train.safetensors", "val.safetensors", "meta.json")),
    ]
    genotype, meta = load_genotype(inputs[0]), load_meta(inputs[3])
    stage.check_data(meta)
    network = initial_network(genotype, config, len(meta.classes), meta.size, seed)
    images = load_split(inputs[1])
    if dry_run:
        with world.joined() as alone:
            print(f"train {target}, dry run: {estimate(network.to(alone.device), config, images, meta, alone)}")
        return
    started = [] if config.start_from is None else [Path(config.start_from)]
    checkpoint = stage.checkpoint("train", str(training), {"target": config.model_dump(mode="json")}, inputs + started)
    folder, title = layout.training(*training), f"train {target}, seed {seed}"
    with world.joined() as team:
        network.to(team.device)
        result = train(network, config, images, load_split(inputs[2]), meta, checkpoint, title, team, seed)
        if not team.writes:
            return
        save_training(folder, result)
        checkpoint.clear()
    metrics = result.metrics
    facts = {
        "parameters": metrics["parameters"],
        "multiply-adds": metrics["macs"],
        "epochs": metrics["epochs"],
        "best epoch": metrics["best_epoch"],
        "validation accuracy, best epoch": Fact(metrics["best_val_accuracy"], ".2%"),
        "validation accuracy, last epoch": Fact(metrics["last_val_accuracy"], ".2%"),
    }
    summarise("train", {f"{target}, seed {seed}": facts}, folder)
