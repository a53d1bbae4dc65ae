"""The data stage: images to train, validation and test tensors."""

import sys
from typing import Any

from pipeline.layout import DATA

UNEQUAL = 10  # how much larger a class may be than another without a word


def command() -> None:
    """Prepare the images: read data.source, split it, measure it, look for faults; write artifacts/data."""
    from midas.data.config import DataConfig
    from midas.data.prepare import prepare
    from midas.data.prepared import load_split
    from midas.runs import files
    from midas.runs.errors import printable
    from midas.runs.summary import Facts, summarise
    from pipeline.params import section

    config = section("data", DataConfig)
    meta = prepare(config, DATA)
    sizes = load_split(DATA / "train.safetensors").labels.bincount(minlength=len(meta.classes))
    smallest, largest = int(sizes.argmin()), int(sizes.argmax())
    few, many = (f"{int(sizes[k])} ({printable(meta.classes[k])})" for k in (smallest, largest))
    facts: Facts = {
        "classes": len(meta.classes),
        "size": f"{meta.size}x{meta.size} pixels",
        **{f"{name} images": count for name, count in meta.counts.items()},
        "fewest training images a class": few,
        "most training images a class": many,
        "mean": _numbers(meta.mean),
        "deviation": _numbers(meta.std),
        "fingerprint": meta.fingerprint[:12],
    }
    summarise("data", {meta.source: facts}, DATA)
    _warn(meta.duplicates, files.read_json(DATA / "report.json"))


def _warn(duplicates: int, report: dict[str, Any]) -> None:
    """A line for each kind of fault that was found; report.json names the images."""
    from midas.runs.errors import printable

    named = f"{DATA / 'report.json'} names them"
    others = ", ".join(f"{count} {suffix}" for suffix, count in report["passed_over"].items())
    equal, ratio, unreadable = report["equal_images"], report["imbalance"], len(report["unreadable"])
    lines = {
        f"files that are no images by their name were passed over: {printable(others)}": len(others),
        f"{unreadable} images cannot be read and were left out: {named}": unreadable,
        f"{duplicates} test images also stand in train or val, pixel for pixel: {named}": duplicates,
        f"{equal['train-val']} validation images also stand in train": equal["train-val"],
        f"{equal['train']} training images repeat another one": equal["train"],
        f"{report['contradictions']} images stand under more than one class": report["contradictions"],
        f"the largest class has {ratio:g} times the training images of the smallest": ratio >= UNEQUAL,
    }
    for line, found in lines.items():
        if found:
            print(f"data: warning: {line}", file=sys.stderr)


def _numbers(values: tuple[float, float, float]) -> str:
    """Three figures a person can read."""
    return ", ".join(f"{value:.4f}" for value in values)
