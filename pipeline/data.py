"""Stage `data`: from images to train, validation and test tensors."""

import os
import sys
from typing import Any

from pipeline.paths import DATA
from pipeline.summary_table import Facts, Summary

UNEQUAL = 10  # how much larger a class may be than another without a warning


def command() -> Summary:
    """Prepare the images: read, split and check them."""
    from midas.data.config import DataConfig
    from midas.data.prepare import prepare
    from midas.data.prepared import load_split
    from midas.io import files
    from midas.io.errors import printable
    from pipeline.params import section

    config = section("data", DataConfig)
    meta = prepare(config, DATA, is_tracked="DVC_STAGE" in os.environ)
    labels = load_split(DATA / "train.safetensors").labels
    sizes = labels.bincount(minlength=len(meta.classes))

    def class_size(place: int) -> str:
        return f"{int(sizes[place])} ({printable(meta.classes[place])})"

    facts: Facts = {
        "classes": len(meta.classes),
        "size": f"{meta.size}x{meta.size} pixels",
        **{f"{name} images": count for name, count in meta.counts.items()},
        "fewest training images a class": class_size(int(sizes.argmin())),
        "most training images a class": class_size(int(sizes.argmax())),
        "mean": ", ".join(f"{value:.4f}" for value in meta.mean),
        "deviation": ", ".join(f"{value:.4f}" for value in meta.std),
        "fingerprint": meta.fingerprint[:12],
    }
    _warn(meta.duplicates, files.read_json(DATA / "report.json"))
    return Summary("data", {meta.source: facts}, DATA)


def _warn(duplicates: int, report: dict[str, Any]) -> None:
    """A line for each kind of fault that was found; report.json names the images."""
    from midas.data.listing import Skipped

    path = DATA / "report.json"
    skipped = Skipped({("", kind): number for kind, number in report["passed_over"].items()})
    equal = report["equal_images"]
    ratio = report["imbalance"]
    unreadable = len(report["unreadable"])
    warnings = {
        f"passed over: {skipped.text()}": skipped,
        f"{unreadable} images cannot be read and were left out: {path} names them": unreadable,
        f"{duplicates} test images equal one in train or val: {path} names them": duplicates,
        f"{equal['train-val']} validation images also stand in train": equal["train-val"],
        f"{equal['train']} training images repeat another one": equal["train"],
        f"{report['contradictions']} images stand under more than one class": (
            report["contradictions"]
        ),
        f"the largest class has {ratio:g} times the training images of the smallest; see "
        "class_weights, balanced_batches and select_by of a target": (ratio >= UNEQUAL),
    }
    for text, applies in warnings.items():
        if applies:
            print(f"data: warning: {text}", file=sys.stderr)
