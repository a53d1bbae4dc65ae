"""Controls that search nothing, judged by the preset's own proxy trainings: rows in nb201.csv.

    python benchmarks/nb201_controls.py --root CIFAR --seeds 0 1 2 3 4

`largest-25` are the 25 cells with the most weights, ties in a random order; `random-25` are 25
cells at random. Neither has `none`. Each cell has one proxy training and the best two a final, as
presets/nasbench201-cpu.yaml says; there is no local search around them. nb201_table.py --controls
prints what is kept beside the methods that search.
"""

import datetime
import itertools
import os
import random
import time
from functools import partial

import rows
import torch
from nb201_run import configurations
from nb201_table import ROWS, Job, job_of, read

from midas.engine import seeding
from midas.engine.checkpoint import Checkpoint, fingerprint
from midas.genotype import Genotype
from midas.proxy.local_search import run_local_search
from midas.spaces import get_space

CELLS = 25
CONTROLS = ("largest-25", "random-25")
WEIGHTS = {"nor_conv_3x3": 9, "nor_conv_1x1": 1}  # of an operation, over the squared width
EDGES = (0, 0, 1, 0, 1, 2)  # the source of each edge; nodes have one, two and three


def all_cells() -> list[tuple[str, ...]]:
    """The operations of every cell without `none`."""
    space = get_space("nasbench201").without(["none"])
    return list(itertools.product(space.candidates("cell", 0, 1), repeat=len(EDGES)))


def to_genotype(ops: tuple[str, ...]) -> Genotype:
    """A cell of the space from its six operations."""
    named = [f"{op}~{source}" for op, source in zip(ops, EDGES, strict=True)]
    nodes = [named[:1], named[1:3], named[3:]]
    return Genotype.from_arch("+".join(f"|{'|'.join(node)}|" for node in nodes))


def control_cells(control: str, seed: int) -> list[Genotype]:
    """The cells that a control compares."""
    cells = all_cells()
    random.Random(seed).shuffle(cells)
    if control == "largest-25":
        cells.sort(key=lambda ops: -sum(WEIGHTS.get(op, 0) for op in ops))  # stable
    return [to_genotype(ops) for ops in cells[:CELLS]]


def run(job: Job, root: str, jobs: int) -> rows.Row:
    """The proxy trainings and finals of one control."""
    control, text, seed = job
    threads = max(1, (os.cpu_count() or 1) // jobs)
    torch.set_num_threads(threads)
    seeding.deterministic()
    config, how = configurations("midas", text)
    assert how.proxy is not None, "the preset has proxy trainings"
    proxy = how.proxy.model_copy(update={"trainings": 0})
    splits, meta = rows.images(root, rows.preset("nasbench201-cpu")["data"])
    keys = {"search": config.model_dump(), "proxy": proxy.model_dump(), "data": meta.fingerprint}
    name = fingerprint(keys, rows.CODE)
    state = Checkpoint(rows.CACHE / f"control-{control}-{seed}-{name}", name)
    start = time.perf_counter()
    space = get_space("nasbench201").without(config.exclude)
    cells = control_cells(control, seed)
    results = run_local_search(cells, {}, space, config, proxy, splits["train"], meta, seed, state)
    state.clear()
    kept = results[-1].genotype.to_arch()
    seconds = round(time.perf_counter() - start)
    return {
        "date": datetime.date.today().isoformat(),
        "method": control,
        "config": text,
        "seed": seed,
        "mean": cells[0].to_arch(),
        "vote": cells[0].to_arch(),
        "cell": kept,
        "supernet_accuracy": "",
        "subnetwork_accuracy": "",
        "steps": 0,
        "trainings": sum(not result.kept for result in results),
        "search_seconds": 0,
        "seconds": seconds,
        "threads": threads,
        "jobs": jobs,
        "images": 0,
        "processor": rows.processor(),
    }


def main() -> None:
    """Run what has no row yet."""
    parser = rows.parser(__doc__, ROWS)
    parser.add_argument("--controls", nargs="+", default=list(CONTROLS), choices=CONTROLS)
    options = parser.parse_args()
    jobs = [(control, "{}", seed) for seed in options.seeds for control in options.controls]
    done = {job_of(row) for row in read(options.rows)}
    rows.run_missing(options, jobs, done, partial(run, root=options.root, jobs=options.jobs))


if __name__ == "__main__":
    main()
