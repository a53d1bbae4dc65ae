"""Searches of NAS-Bench-201 on CIFAR-10 by several methods: a row for each search in nb201.csv.

    python benchmarks/nb201_run.py --root CIFAR --methods midas darts --seeds 0 1 2
    python benchmarks/nb201_run.py --root CIFAR --set decode.proxy=null --set patch_size=null

The settings are those of presets/nasbench201-cpu.yaml. `--set KEY=VALUE` changes one of the search
(epochs=8) or of the decoding (decode.proxy=null) and so makes another configuration. Rows that
exist are not run again, and what was stopped goes on from its last epoch or proxy training. Each of
`--jobs` searches has its share of the cores; a row's seconds are those of the run that ended it.
Prints nothing but the progress: nb201_table.py says what the cells are worth.
"""

import datetime
import json
import os
import time
from functools import partial
from typing import get_args

import rows
import torch
import yaml
from nb201_table import ROWS, Job, job_of, read
from pydantic import ValidationError

from midas.decode.decode import decode
from midas.decode.evidence import evidence, read_supernet
from midas.engine import seeding
from midas.engine.checkpoint import Checkpoint, fingerprint
from midas.io.errors import MidasError
from midas.proxy.config import DecodeStageConfig
from midas.proxy.local_search import ProxyResult, neighbours, op_shares, run_local_search
from midas.search.bilevel import BilevelSplit
from midas.search.config import MethodName, SearchConfig
from midas.search.run import run_search
from midas.spaces import get_space

PRESET = rows.preset("nasbench201-cpu")


def configurations(method: str, text: str) -> tuple[SearchConfig, DecodeStageConfig]:
    """The search and the decoding that a row's method and configuration mean."""
    search = {**PRESET["search"], "method": method}
    decoding = dict(PRESET["decode"])
    for key, value in json.loads(text).items():
        section, _, name = key.rpartition(".")
        (decoding if section == "decode" else search)[name] = value
    return SearchConfig(**search), DecodeStageConfig(**decoding)


def run(job: Job, root: str, jobs: int) -> rows.Row:
    """One search, its decoding, and its proxy trainings; accuracies are in [0, 1]."""
    method_name, text, seed = job
    threads = max(1, (os.cpu_count() or 1) // jobs)
    torch.set_num_threads(threads)
    seeding.deterministic()
    config, how = configurations(method_name, text)
    splits, meta = rows.images(root, PRESET["data"])
    train = splits["train"]
    keys = {"search": config.model_dump(), "decode": how.model_dump(), "data": meta.fingerprint}
    name = fingerprint(keys, rows.CODE)
    search_state = Checkpoint(rows.CACHE / f"search-{method_name}-{seed}-{name}", name)
    proxy_state = Checkpoint(rows.CACHE / f"proxy-{method_name}-{seed}-{name}", name)
    start = time.perf_counter()
    space = get_space("nasbench201")
    supernet, method, history = run_search(space, config, train, meta, seed, search_state)
    search_seconds = round(time.perf_counter() - start)
    space = space.without(config.exclude)
    half = BilevelSplit(train, config).architecture
    samples, genotype = read_supernet(space, supernet, method, config, how, half, meta)
    weights = samples
    if how.aggregation == "sensitivity":  # its samples are scores
        plain = how.model_copy(update={"aggregation": "mean"})
        weights, _ = read_supernet(space, supernet, method, config, plain, half, meta)
    by_mean = decode(weights, space, "mean")
    by_vote = decode(weights, space, "vote")
    if method_name == "random":  # its cell is chosen by accuracy
        by_mean = by_vote = genotype
    results: list[ProxyResult] = []
    if how.proxy is not None:
        shares = op_shares(samples, space, how.aggregation, min(how.samples, len(half)))
        results = run_local_search(
            [genotype, *neighbours(genotype, space)],
            shares,
            space,
            config,
            how.proxy,
            train,
            meta,
            seed,
            proxy_state,
        )
        genotype = results[-1].genotype
    values = evidence(seed, genotype, samples, space, supernet, method, how, half, meta)
    search_state.clear()
    proxy_state.clear()
    return {
        "date": datetime.date.today().isoformat(),
        "method": method_name,
        "config": text,  # the changed settings, as JSON
        "seed": seed,
        "mean": by_mean.to_arch(),
        "vote": by_vote.to_arch(),
        "cell": genotype.to_arch(),  # by decode.aggregation, and after any proxy trainings
        "supernet_accuracy": round(values["supernet_accuracy"], 4),
        "subnetwork_accuracy": round(values["subnetwork_accuracy"], 4),
        "steps": history[-1]["step"],
        "trainings": sum(not result.kept for result in results),  # finals included
        "search_seconds": search_seconds,  # of all seconds
        "seconds": round(time.perf_counter() - start),
        "threads": threads,
        "jobs": jobs,
        "images": (2 * config.epochs - config.warmup_epochs) * len(half),  # seen in the search
        "processor": rows.processor(),
    }


def main() -> None:
    """Run what has no row yet."""
    parser = rows.parser(__doc__, ROWS)
    parser.add_argument("--methods", nargs="+", default=["midas"], choices=get_args(MethodName))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    settings = (text.partition("=") for text in options.set)
    changed = {key: yaml.safe_load(value) for key, _, value in settings}
    config = json.dumps(changed, sort_keys=True)
    try:
        for method in options.methods:
            configurations(method, config)
        rows.images(options.root, PRESET["data"])
    except ValidationError as error:
        first = error.errors()[0]
        parser.error(f"--set: {'.'.join(map(str, first['loc']))}: {first['msg']}")
    except MidasError as error:
        parser.error(f"--root: {error}")
    jobs = [(method, config, seed) for seed in options.seeds for method in options.methods]
    done = {job_of(row) for row in read(options.rows)}
    rows.run_missing(options, jobs, done, partial(run, root=options.root, jobs=options.jobs))


if __name__ == "__main__":
    main()
