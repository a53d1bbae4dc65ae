"""The data stage: images to train, validation and test tensors."""

import sys

from pipeline.layout import DATA


def command() -> None:
    """Prepare the images: read data.source, split it, measure it; write artifacts/data."""
    from midas.data.config import DataConfig
    from midas.data.prepare import prepare
    from midas.data.prepared import load_split
    from midas.runs.summary import Facts, summarise
    from pipeline.params import section

    config = section("data", DataConfig)
    meta = prepare(config, DATA)
    sizes = load_split(DATA / "train.safetensors").labels.bincount(minlength=len(meta.classes))
    smallest, largest = int(sizes.argmin()), int(sizes.argmax())
    facts: Facts = {
        "classes": len(meta.classes),
        "size": f"{meta.size}x{meta.size} pixels",
        **{f"{name} images": count for name, count in meta.counts.items()},
        "fewest training images a class": f"{int(sizes[smallest])} ({meta.classes[smallest]})",
        "most training images a class": f"{int(sizes[largest])} ({meta.classes[largest]})",
        "mean": _numbers(meta.mean),
        "deviation": _numbers(meta.std),
        "fingerprint": meta.fingerprint[:12],
    }
    summarise("data", {meta.source: facts}, DATA)
    if meta.duplicates:
        print(
            f"data: warning: {meta.duplicates} test images also stand in train or val, pixel for pixel", file=sys.stderr
        )


def _numbers(values: tuple[float, float, float]) -> str:
    """Three figures a person can read."""
    return ", ".join(f"{value:.4f}" for value in values)
