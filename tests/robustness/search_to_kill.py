"""A small search that keeps a checkpoint. Run as a program it is there to be killed."""

import sys
from pathlib import Path

from midas.data.prepared import load_meta, load_split
from midas.engine import seeding
from midas.engine.checkpoint import Checkpoint
from midas.search.config import SearchConfig
from midas.search.run import SearchResult, run_search
from midas.spaces import get_space

CONFIG = SearchConfig(channels=2, cells=1, epochs=5, images=32, batch_size=16, monitor_images=4)


def search(data: Path, checkpoint: Path | None = None, seed: int = 0) -> SearchResult:
    """A search of NAS-Bench-201's space on the images of a prepared folder."""
    seeding.deterministic()
    train = load_split(data / "train.safetensors")
    meta = load_meta(data / "meta.json")
    kept = None if checkpoint is None else Checkpoint(checkpoint, "print")
    return run_search(get_space("nasbench201"), CONFIG, train, meta, seed, kept)


if __name__ == "__main__":
    search(Path(sys.argv[1]), Path(sys.argv[2]))
