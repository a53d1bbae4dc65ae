"""Searches of NAS-Bench-201 on CIFAR-10, one row for each finished (arm, configuration, seed) in benchmarks/nb201.csv.

    python benchmarks/nb201_run.py --root CIFAR --arms midas darts --seeds 0 1 2
    python benchmarks/nb201_run.py --root CIFAR --arms midas --seeds 0 1 2 --set patch_size=null --set epochs=8

CIFAR is the folder that holds cifar-10-batches-py. The settings are those of presets/nasbench201-cpu.yaml; --set changes
one of the search (epochs=8) or of the decoding ("decode.refine=null") and so makes another configuration. Rows that exist
are skipped (this project's own are shipped; --rows FILE begins another file), so a run may be stopped and started again; what
was begun is resumed from its last epoch or short training. Where a row has the same search, `shares` and another decode.refine,
its cell is taken and only the short trainings are run. A cell's short training is the same for every arm, so the losses that
rows of the same seed and recipe have are taken, too.
--jobs searches run side by side, each on cores / jobs threads; a row's seconds are those of the run that ended it, and of a
whole seed only where it had nothing to take. Cells are decoded by every rule; where decode.refine is set, the preset's goes
on to short trainings, and the sub-network's accuracy is that of their cell. The table of
accuracies is not read here: benchmarks/nb201_table.py joins the rows with it.
"""

import argparse
import datetime
import json
import math
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import rows
import torch
import yaml
from short_training import CACHE, prepared

from midas.data.config import DataConfig
from midas.data.prepared import load_meta, load_split
from midas.genotype import Genotype
from midas.runs import seeding
from midas.runs.checkpoint import Checkpoint, fingerprint
from midas.runs.errors import MidasError
from midas.runs.processes import end_with_parent
from midas.search.bilevel import run_search
from midas.search.config import DecodeConfig, RefineConfig, SearchConfig
from midas.search.decode import decode
from midas.search.refine import ShortTraining, refined
from midas.search.rules import Rule
from midas.search.selection import decode_seed, sample_shares
from midas.spaces import get_space

HERE = Path(__file__).parent
ROWS = HERE / "nb201.csv"
PRESET = yaml.safe_load((HERE.parent / "presets/nasbench201-cpu.yaml").read_text(encoding="utf-8"))
CODE = [HERE.parent / "midas" / name for name in ("search", "nets", "spaces", "data")]  # short trainings depend on it
HELD = 100  # seeds from here on are for the last check: nothing is chosen by them
# the preset's short trainings of 2026-11-27, by whose rows `decode.refine.capacity` was chosen
SHORT = {"cells": [2], "channels": 8, "crops": False, "epochs": 10, "image_size": 16, "images": 5000}
BEFORE = json.dumps({"decode.refine": {**SHORT, "trainings": 13, "finalists": 6, "final_epochs": 30}}, sort_keys=True)
LAST = "2026-11-27"  # and the day of the last of them
ARMS = ("midas", "darts", "darts-pairs", "drnas", "gdas", "beta-darts", "random")
RULES: tuple[Rule, ...] = ("mean", "vote", "mode", "joint")
Job = tuple[str, str, int]  # arm, configuration, seed


class Row(NamedTuple):
    """One finished search; cells are arch strings."""

    date: str
    arm: str
    config: str  # the changed settings, as JSON
    seed: int
    mean: str  # the cell by each decode rule
    vote: str
    mode: str
    joint: str
    supernet_accuracy: float
    subnetwork_accuracy: float
    steps: int
    seconds: int
    threads: int
    jobs: int
    epochs: str  # the cells after each epoch by mean, as JSON; empty, as `voted` and `shares`, where an earlier row has them
    voted: str  # and by vote
    refined: str  # the cell after short trainings, empty where there were none
    trainings: int  # how many there were, finals among them
    shares: str  # of the operations in the search, as JSON: [type of cell, source, target, operation, share], ...
    search_seconds: int  # of `seconds`, those before the short trainings
    losses: str  # of the short trainings in their order, [[arch string, loss in nats], ...]; but for the preset, those that are new
    finals: str  # and of the finalists' longer ones


def search(job: Job, root: str, threads: int, jobs: int, file: Path) -> Row:
    """One search and its decoding; runs in a process of its own."""
    arm, config_text, seed = job
    torch.set_num_threads(threads)
    seeding.deterministic()
    changed = json.loads(config_text)
    searched = {key: value for key, value in changed.items() if not key.startswith("decode.")}
    config = SearchConfig(**{**PRESET["search"], "arm": arm, **searched})
    decoded = {key.removeprefix("decode."): value for key, value in changed.items() if key not in searched}
    how = DecodeConfig(**{**PRESET["decode"], **decoded})
    folder = preset_images(root)
    train, meta = load_split(folder / "train.safetensors"), load_meta(folder / "meta.json")
    space, start = get_space("nasbench201"), time.perf_counter()
    if how.refine and (known := searched_before(job, file)):
        cell = Genotype.from_arch(known[how.rule])
        told = {"cell": cell.hash, "seed": seed, "refine": how.refine.model_dump(), "search": config.model_dump()}
        print_ = fingerprint({**told, "data": meta.fingerprint}, CODE)
        short = Checkpoint(CACHE / "-".join(["refine", arm, str(seed), print_[:12]]), print_)
        shares = {(kind, int(a), int(b), op): float(share) for kind, a, b, op, share in json.loads(known["shares"])}
        there = trained_before(job, how.refine, short, file)
        trainings = refined(cell, shares, space.without(config.exclude), config, how.refine, train, meta, seed, short)
        short.clear()
        new = {"config": config_text, "refined": trainings[-1].genotype.to_arch(), "subnetwork_accuracy": ""}
        seconds = float(known["search_seconds"]) + time.perf_counter() - start
        counts = {
            "seconds": round(seconds),
            "trainings": sum(not t.kept for t in trainings),
            "losses": losses(trainings, there, final=False),
            "finals": losses(trainings, there, final=True),
            **dict.fromkeys(("epochs", "voted", "shares"), ""),
        }
        values: dict[str, Any] = {**known, "date": datetime.date.today().isoformat(), **new, **counts}
        return Row._make(values[field] for field in Row._fields)
    print_ = fingerprint({"job": list(job), "search": config.model_dump(), "data": meta.fingerprint}, [])
    checkpoint = Checkpoint(CACHE / "-".join([arm, str(seed), print_[:12]]), print_)
    result = run_search(space, config, train, meta, seed, checkpoint)
    search_seconds = time.perf_counter() - start
    print_ = fingerprint({"search": print_, "decode": how.model_dump()}, CODE)
    short = Checkpoint(CACHE / "-".join(["refine", arm, str(seed), print_[:12]]), print_)
    there = trained_before(job, how.refine, short, file) if how.refine else set()
    found = decode_seed(seed, space, result.supernet, result.arm, config, how, train, meta, short)
    seconds = time.perf_counter() - start
    checkpoint.clear()
    short.clear()
    cells = {rule: decode(found.samples, space.without(config.exclude), rule).to_arch() for rule in RULES}
    if arm == "random":
        start_cell = found.trainings[0].genotype if found.trainings else found.genotype
        cells = dict.fromkeys(RULES, start_cell.to_arch())
    shares = sample_shares(found.samples, space.without(config.exclude), how.rule, how.samples)
    return Row(
        date=datetime.date.today().isoformat(),
        arm=arm,
        config=config_text,
        seed=seed,
        **cells,
        supernet_accuracy=round(found.supernet_accuracy, 4),
        subnetwork_accuracy=round(found.subnetwork_accuracy, 4),
        steps=result.history[-1]["step"],
        seconds=round(seconds),
        threads=threads,
        jobs=jobs,
        epochs=json.dumps([row["genotype"] for row in result.history]),
        voted=json.dumps([row["voted"] for row in result.history]),
        refined=found.genotype.to_arch() if found.trainings else "",
        trainings=sum(not training.kept for training in found.trainings),
        shares=json.dumps([[*key, round(share, 6)] for key, share in shares.items()]),
        search_seconds=round(search_seconds),
        losses=losses(found.trainings, there, final=False),
        finals=losses(found.trainings, there, final=True),
    )


def losses(trainings: Sequence[ShortTraining], there: set[str], final: bool) -> str:
    """For a row; those that are `there` already are left out."""
    own = [one for one in trainings if not one.kept and one.final is final]
    new = [one.genotype for one in own if "final " * final + one.genotype.hash not in there]
    told = [[one.genotype.to_arch(), round(one.loss, 6)] for one in own if one.genotype in new]
    return json.dumps(told) if told else ""


def searched_before(job: Job, file: Path) -> dict[str, str] | None:
    """The last row of the same search that has its shares, whatever short trainings followed it."""

    def key(arm: str, config: str, seed: int) -> tuple[str, int, Any]:
        return arm, seed, {**json.loads(config), "decode.refine": None}

    with_shares = (row for row in reversed(rows.read(file)) if row["shares"])
    same = (row for row in with_shares if key(row["arm"], row["config"], int(row["seed"])) == key(*job))
    return next(same, None)


def recipe(how: RefineConfig) -> dict[str, Any]:
    """What decides a short training's loss; how many there are, what the search and the size weigh, and the finals do not."""
    return how.model_dump(exclude={"trainings", "temperature", "capacity", "finalists", "final_epochs"})


def recipe_of(row: dict[str, str]) -> dict[str, Any]:
    """The `recipe` of a row that has losses."""
    return recipe(refine_of(row))


def refine_of(row: dict[str, str]) -> RefineConfig:
    """The settings of a row's short trainings. They may name what `RefineConfig` no longer has (a rule that was tried)."""
    told = json.loads(row["config"]).get("decode.refine", PRESET["decode"]["refine"])
    return RefineConfig(**{key: value for key, value in told.items() if key in RefineConfig.model_fields})


def trained_before(job: Job, how: RefineConfig, short: Checkpoint, file: Path) -> set[str]:
    """Put the losses of all rows of this seed and recipe, whatever their arm, where short trainings and finals look for them.

    Returns those that need not be written again.

    Rows of earlier code count, too: after a change of what a short training computes, begin another csv file.
    """
    searched = {**json.loads(job[1]), "decode.refine": None}
    state: dict[str, tuple[float, float]] = dict(short.load() or {})
    there: set[str] = set()
    for row in (row for row in rows.read(file) if row["losses"] + row["finals"] and int(row["seed"]) == job[2]):
        same = {**json.loads(row["config"]), "decode.refine": None} == searched
        if same and recipe_of(row) == recipe(how):
            finals = row["finals"] if refine_of(row).final_epochs == how.final_epochs else ""
            for name, told in (("", json.loads(row["losses"] or "[]")), ("final ", json.loads(finals or "[]"))):
                found = {name + Genotype.from_arch(arch).hash: (loss, math.nan) for arch, loss in told}
                state, there = found | state, there | found.keys()
    if state:
        short.save(state)
    return there if json.loads(job[1]) else set()  # the preset's rows are whole: they are what is shown


def preset_images(root: str) -> Path:
    """CIFAR-10 as the preset has it."""
    return prepared("data", DataConfig(**{**PRESET["data"], "root": root}))


def wanted(options: argparse.Namespace) -> list[Job]:
    """The jobs asked for that have no row yet, seed by seed."""
    config = json.dumps(dict(parse(text) for text in options.set), sort_keys=True)
    done = {(row["arm"], row["config"], int(row["seed"])) for row in rows.read(options.rows)}
    jobs = [(arm, config, seed) for seed in options.seeds for arm in options.arms]
    return rows.missing(options.rows, jobs, done)


def parse(text: str) -> tuple[str, Any]:
    """KEY=VALUE with a value as in YAML."""
    key, _, value = text.partition("=")
    return key, yaml.safe_load(value)


def main() -> None:
    """Run what is asked for and append its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--arms", nargs="+", default=["midas"], choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--rows", type=Path, default=ROWS, help="another file: what this project ran runs again")
    options = parser.parse_args()
    try:
        preset_images(options.root)
    except MidasError as error:
        parser.error(f"--root: {error}")
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, end_with_parent) as pool:
        futures = [
            pool.submit(search, job, options.root, threads, options.jobs, options.rows) for job in wanted(options)
        ]
        for future in as_completed(futures):
            rows.append(options.rows, future.result())


if __name__ == "__main__":
    main()
