"""What a search of few steps cannot see: measurements on NAS-Bench-201, CIFAR-10.

    python benchmarks/nb201_short_search.py untrained  --root CIFAR --table TABLE                seconds a seed
    python benchmarks/nb201_short_search.py depth      --root CIFAR --table TABLE                minutes
    python benchmarks/nb201_short_search.py neighbours --root CIFAR --table TABLE --arch ARCH    minutes
    python benchmarks/nb201_short_search.py judges     --root CIFAR --table TABLE --seeds 10     40 minutes a seed, two slow cores

`untrained` decodes supernets and projections as they are drawn, before any step. `depth` trains three cells as the preset's
`decode.refine` does: the best of the table but two, the one of 3x3 convolutions alone, and the one whose skip joins another
edge; in networks of one and of three cells a stage, two seeds each. `neighbours` trains a cell and all that differ from it in
one operation. `judges` trains the same sixteen cells, mostly good ones, by each of the short recipes
JUDGES, and says by Spearman's correlation how well each ranks them. The table's validation column stands beside.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import torch
from nb201_run import PRESET, preset_images
from scipy.stats import spearmanr

from midas.bench.nasbench201 import find_table, load_table
from midas.data.prepared import load_meta, load_split
from midas.genotype import Genotype
from midas.search.bilevel import build_search
from midas.search.brief import ShortTrainings, Trainer, short_recipe
from midas.search.config import DecodeConfig, RefineConfig, SearchConfig
from midas.search.decode import decode, sample_weights
from midas.search.halves import Halves
from midas.search.monitor import decode_batches
from midas.search.refine import neighbours
from midas.search.rules import Rule
from midas.search.selection import decode_sample
from midas.spaces import get_space

RULES: tuple[Rule, ...] = ("mean", "vote")
CELLS = {
    "skip from the input to node 3, else 3x3": "|{c}~0|+|{c}~0|{c}~1|+|{s}~0|{c}~1|{c}~2|",
    "3x3 alone": "|{c}~0|+|{c}~0|{c}~1|+|{c}~0|{c}~1|{c}~2|",
    "skip from node 1 to node 3, else 3x3": "|{c}~0|+|{c}~0|{c}~1|+|{c}~0|{s}~1|{c}~2|",
}
# a cell in six letters: its operations in the order of the arch string
CODES = {"3": "nor_conv_3x3", "1": "nor_conv_1x1", "s": "skip_connect", "p": "avg_pool_3x3"}
SIXTEEN = (
    "333s33 313s33 313s13 331s33 33ps33 133s33 33ss33 3s3s33 333ss3 333s3s s33s33 333133 333p33 333333 1113p3 111s11"
)
TWO = RefineConfig(
    cells=(2,), channels=8, image_size=16, images=5000, epochs=10, crops=False
)  # half of the images are trained on
JUDGES = {
    "2,500 images, ten epochs": TWO,
    "the same with crops": TWO.model_copy(update={"crops": True}),
    "one cell a stage": TWO.model_copy(update={"cells": (1,)}),
    "three cells a stage": TWO.model_copy(update={"cells": (3,)}),
    "5,000 images, three epochs": TWO.model_copy(update={"images": 10_000, "epochs": 3}),
    "5,000 images, eight epochs": TWO.model_copy(update={"images": 10_000, "epochs": 8}),
    "10,000 images, three epochs": TWO.model_copy(update={"images": 20_000, "epochs": 3}),
}


def from_code(code: str) -> Genotype:
    """Six letters of CODES to a cell."""
    ops = [CODES[letter] for letter in code]
    return Genotype.from_arch("|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops))


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("untrained", "depth", "neighbours", "judges"))
    parser.add_argument("--arch", help="whose neighbours")
    parser.add_argument("--root", required=True)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10, 22)))
    options = parser.parse_args()
    table, folder = load_table(find_table(options.table)), preset_images(options.root)
    train, meta = load_split(folder / "train.safetensors"), load_meta(folder / "meta.json")
    search, full = SearchConfig(**PRESET["search"]), get_space("nasbench201")
    space = full.without(search.exclude)
    torch.set_num_threads(1)
    how = RefineConfig(**PRESET["decode"]["refine"])

    def short_training(how: RefineConfig, seed: int) -> ShortTrainings:
        recipe = short_recipe(search, how, meta)
        return ShortTrainings(
            space, recipe, how.cells or (search.cells,), how.epochs, Halves(train, recipe), meta, seed
        )

    def known(genotype: Genotype) -> float:
        return float(table.columns["cifar10_valid"][table.row(genotype)])

    if options.what == "untrained":
        images = decode_sample(Halves(train, search).architecture, DecodeConfig(samples=256))
        found: dict[Rule, list[float]] = {rule: [] for rule in RULES}
        for seed in options.seeds:
            supernet, arm = build_search(space, search, len(meta.classes), seed)
            samples = sample_weights(supernet, arm, decode_batches(images, meta, 256))
            for rule in RULES:
                found[rule].append(known(decode(samples, space, rule)))
        print(
            "| rule | seeds | validation accuracy of the cell of an untrained search | best | worst |\n|---|---|---|---|---|"
        )
        for rule, values in found.items():
            spread = f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
            print(f"| {rule} | {len(values)} | {spread} | {max(values):.2f} | {min(values):.2f} |")
        return
    if options.what == "neighbours":
        cell, judge = Genotype.from_arch(options.arch), short_training(how, options.seeds[0])
        print("| change | table | loss after a short training | accuracy |\n|---|---|---|---|")
        for genotype in (cell, *neighbours(cell, space)):
            new = set(genotype.cells["cell"].edges) - set(cell.cells["cell"].edges)
            change = " ".join(f"{edge.op} on {edge.source} to {edge.target}" for edge in new) or "none"
            verdict = judge(genotype)
            print(f"| {change} | {known(genotype):.2f} | {verdict.loss:.4f} | {verdict.accuracy:.2%} |", flush=True)
        return
    if options.what == "judges":
        cells = [from_code(code) for code in SIXTEEN.split()]
        table_values = [known(cell) for cell in cells]
        print(
            "| short training | seed | rank correlation of its losses | seconds each | losses, best cell of the table first |"
        )
        print("|---|---|---|---|---|")
        run = Trainer(os.cpu_count() or 1)
        for name, recipe in JUDGES.items():
            for seed in options.seeds:
                start = time.perf_counter()
                losses = [verdict.loss for verdict in run(short_training(recipe, seed), cells)]
                seconds = (time.perf_counter() - start) * (os.cpu_count() or 1) / len(cells)
                each = ", ".join(
                    f"{loss:.3f}" for _, loss in sorted(zip(table_values, losses, strict=True), reverse=True)
                )
                rank = -spearmanr(table_values, losses).statistic
                print(f"| {name} | {seed} | {rank:.2f} | {seconds:.0f} | {each} |", flush=True)
        return
    print("| cell | table | cells a stage | after a short training, a seed each |\n|---|---|---|---|")
    for name, form in CELLS.items():
        genotype = Genotype.from_arch(form.format(c="nor_conv_3x3", s="skip_connect"))
        for depth in (1, 3):
            judges = [short_training(how.model_copy(update={"cells": (depth,)}), seed) for seed in options.seeds[:2]]
            seen = ", ".join(f"{judge(genotype).accuracy:.1%}" for judge in judges)
            print(f"| {name} | {known(genotype):.2f} | {depth} | {seen} |", flush=True)


if __name__ == "__main__":
    main()
