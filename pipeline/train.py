"""Stage `train@target-seed`: train the selected cell as one target of params.yaml says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import launch, names, paths
from pipeline.names import TrainingSeed, TrainingTarget
from pipeline.summary_table import Fact, Summary

if TYPE_CHECKING:
    from midas.data.prepared import DataMeta, Split
    from midas.train.config import TargetConfig
    from midas.train.distillation import Teacher


def command(
    target: TrainingTarget,
    seed: TrainingSeed = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cost, and train nothing.")
    ] = False,
) -> Summary | None:
    """Train the network of a target; goes on from a checkpoint."""
    training = names.training(target, seed)
    target, seed = training
    if not dry_run and launch.launch("train", target, str(seed)):
        return None
    from midas.data.prepared import load_meta, load_split
    from midas.engine import memory, seeding
    from midas.engine.distributed import join
    from midas.genotype import load_genotype
    from midas.nets.timm_models import CONFIG, WEIGHTS
    from midas.train.config import TimmTargetConfig
    from midas.train.cost import estimate
    from midas.train.run import train
    from midas.train.start import start_network
    from midas.train.store import save_training
    from pipeline import checkpoints, params, targets

    memory.keep_freed()
    seeding.deterministic()
    config = targets.config(target)
    inputs = [paths.DATA / f"{name}.safetensors" for name in ("train", "val")]
    inputs.append(paths.DATA / "meta.json")
    genotype = None
    images = load_split(inputs[0])
    meta = load_meta(inputs[2])
    checkpoints.check_data(meta)
    if not isinstance(config, TimmTargetConfig):
        inputs.append(paths.written(paths.GENOTYPE / "genotype.json", "select"))
        genotype = load_genotype(inputs[-1])
        config = _planned(target, config, inputs[-1], images, meta)
    network, meta = start_network(genotype, config, meta, seed)
    teacher = _teacher(config, meta)
    title = f"train {target}, seed {seed}"
    if dry_run:
        with join() as distributed:
            network.to(distributed.device)
            cost = estimate(network, config, images, meta, distributed, teacher)
            print(f"train {target}, dry run: {cost}")
        return None
    folders = [config.weights, params.value("teacher", str) if teacher else None]
    for path in map(Path, filter(None, folders)):
        members = [path / CONFIG, path / WEIGHTS] if path.is_dir() else [path]
        inputs += [member for member in members if member.is_file()]  # and no hub's name
    keys = {"target": config.model_dump(mode="json")}
    checkpoint = checkpoints.checkpoint("train", str(training), keys, inputs)
    folder = paths.training(*training)
    val = load_split(inputs[1])
    with join() as distributed:
        network.to(distributed.device)
        result = train(
            network, config, images, val, meta, checkpoint, title, distributed, seed, teacher
        )
        if not distributed.is_main:
            return None
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
    return Summary("train", {f"{target}, seed {seed}": facts}, folder)


def _teacher(config: TargetConfig, meta: DataMeta) -> Teacher | None:
    """The network of the model folder that `teacher` names, where the target has one."""
    from midas.train.config import TaughtTargetConfig
    from midas.train.distillation import load_teacher
    from pipeline import params

    if not isinstance(config, TaughtTargetConfig):
        return None
    folder = Path(params.value("teacher", str))
    return load_teacher(folder, meta, config.temperature, config.teacher_weight)


def _planned(
    target: str, config: TargetConfig, cell: Path, images: Split, meta: DataMeta
) -> TargetConfig:
    """The configuration with what `minutes` has chosen: kept in a file, the same for every seed."""
    if config.minutes is None:
        return config
    from midas.engine.checkpoint import fingerprint
    from midas.genotype import load_genotype
    from midas.io import files
    from midas.io.errors import ParamsError
    from midas.train.cost import fit_minutes

    path = paths.PLANS / f"{target}.json"
    keys = {"target": config.model_dump(mode="json"), "data": meta.fingerprint}
    key = fingerprint(keys, [cell])
    plan = files.read_json(path) if path.is_file() else {}
    if plan.get("key") != key:
        if "WORLD_SIZE" in os.environ:  # each process would choose by its own times
            raise ParamsError(f"minutes: run `midas train {target} --dry-run` first, which chooses")
        teacher = _teacher(config, meta)
        chosen = fit_minutes(load_genotype(cell), config, images, meta, teacher)
        include = {"channels", "epochs", "warmup_epochs"}
        plan = {"key": key, "chosen": chosen.model_dump(include=include)}
        files.write_json(path, plan)
    return config.model_copy(update={**plan["chosen"], "minutes": None})
