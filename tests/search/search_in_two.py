"""One process of a search in float64 under torchrun: it writes its losses and the found cell."""

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from midas.data.prepared import DataMeta, Split
from midas.decode.monitor import search_monitor
from midas.engine.distributed import Distributed, join
from midas.search import run
from midas.search.bilevel import BilevelSearch, BilevelSplit
from midas.search.config import SearchConfig
from midas.spaces import get_space

CONFIG = SearchConfig(
    channels=4,
    cells=3,
    epochs=13,
    batch_size=8,
    patch_size=2,
    monitor_images=16,
    augment={"pad": 1, "flip": True},
)  # 13 epochs of 4 steps
META = DataMeta(("dark", "light"), 8, (0.5,) * 3, (0.3,) * 3, {"train": 64}, "0", "test", {}, 0)


def dark_and_light() -> Split:
    labels = torch.arange(64) % 2
    noise = torch.randint(0, 150, (64, 8, 8, 3), generator=torch.Generator().manual_seed(0))
    images = (noise + 100 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return Split(images.permute(0, 3, 1, 2), labels)


def search(distributed: Distributed, accumulate: int) -> dict[str, Any]:
    """Search; the losses of the 52 steps on both halves, and the cell that is decoded last."""
    torch.set_num_threads(1)
    config = CONFIG.model_copy(update={"accumulate": accumulate})
    losses: list[float] = []

    class Noted(BilevelSearch):
        def metrics(self, sums: Tensor) -> dict[str, float]:
            loss, _, images, arch_loss, _, arch_images = sums.tolist()
            losses.extend([loss / images, arch_loss / arch_images])
            return super().metrics(sums)

    plain_build = run.build_search

    def build_double(*arguments: Any) -> Any:
        return tuple(module.double() for module in plain_build(*arguments))

    train = dark_and_light()
    with patch.object(run, "build_search", build_double), patch.object(run, "BilevelSearch", Noted):
        result = run.run_search(get_space("darts"), config, train, META, 0, distributed=distributed)
    monitor = search_monitor(get_space("darts").without(CONFIG.exclude), META, CONFIG)
    half = BilevelSplit(train, CONFIG).architecture
    row = monitor(result.supernet.float(), result.method.float(), half)
    return {"losses": losses, "genotype": row["genotype"]}


if __name__ == "__main__":
    with join() as joined:
        Path(sys.argv[1], f"rank-{joined.rank}.json").write_text(json.dumps(search(joined, 1)))
