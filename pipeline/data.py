"""The data stage: images to train, validation and test tensors."""

from pipeline.layout import DATA


def command() -> None:
    """Prepare the images: read data.source, split it, measure it; write artifacts/data."""
    from midas.data.config import DataConfig
    from midas.data.prepare import prepare
    from midas.data.prepared import load_split
    from pipeline.params import section

    config = section("data", DataConfig)
    meta = prepare(config, DATA)
    sizes = load_split(DATA / "train.safetensors").labels.bincount(minlength=len(meta.classes))
    smallest, largest = int(sizes.argmin()), int(sizes.argmax())
    print(f"data: {meta.source}, {len(meta.classes)} classes, {meta.size}x{meta.size} pixels")
    print("images: " + ", ".join(f"{count} {name}" for name, count in meta.counts.items()))
    print(
        f"training images a class: {int(sizes[smallest])} ({meta.classes[smallest]}) to "
        f"{int(sizes[largest])} ({meta.classes[largest]})"
    )
    print(f"mean {_numbers(meta.mean)}, std {_numbers(meta.std)}; fingerprint {meta.fingerprint[:12]}")
    if meta.duplicates:
        print(f"warning: {meta.duplicates} test images also stand in train or val, pixel for pixel")


def _numbers(values: tuple[float, float, float]) -> str:
    """Three figures a person can read."""
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"
