"""One process of a search in float64 under torchrun: writes its losses and the cell that was found."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from midas.data.prepared import DataMeta, Split
from midas.runs import world
from midas.search import bilevel, engine
from midas.search.config import SearchConfig
from midas.spaces import get_space

CONFIG = SearchConfig(
    channels=4, cells=3, epochs=13, batch_size=8, patch_size=2, monitor_images=16, augment={"pad": 1, "flip": True}
)  # 13 epochs of 4 steps


def search(team: world.World, accumulate: int) -> dict[str, Any]:
    """Search; the losses of the 52 steps on both halves, and what the monitor sees at the end, its cell among it."""
    torch.set_num_threads(1)
    config = CONFIG.model_copy(update={"accumulate": accumulate})
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    noise = torch.randint(0, 150, (64, 8, 8, 3), generator=generator) + 100 * labels.view(-1, 1, 1, 1)
    train = Split(noise.to(torch.uint8).permute(0, 3, 1, 2), labels)
    meta = DataMeta(("dark", "light"), 8, (0.5,) * 3, (0.3,) * 3, {"train": 64}, "0", "test", {}, 0)
    losses: list[float] = []
    plain_build, plain_monitor, plain_backward = bilevel.build_search, engine.monitor, engine.Engine._backward

    def noted(*arguments: Any) -> Any:
        answer = plain_backward(*arguments)
        losses.append(float(answer[0]))
        return answer

    bilevel.build_search = lambda *a: tuple(module.double() for module in plain_build(*a))
    engine.monitor = lambda *_: {
        "skips": 0, "margin": 0.0, "supernet_accuracy": 0.0, "subnetwork_accuracy": 0.0
    }  # fmt: skip
    engine.Engine._backward = noted
    try:
        found = bilevel.run_search(get_space("darts"), config, train, meta, 0, world=team)
    finally:
        bilevel.build_search, engine.monitor = plain_build, plain_monitor
        engine.Engine._backward = plain_backward
    space = get_space("darts").without(CONFIG.exclude)
    halves = bilevel.Halves(train, CONFIG)
    seen = plain_monitor(space, found.supernet.float(), found.arm.float(), halves.architecture, meta, CONFIG)
    return {"losses": losses, "seen": seen}


if __name__ == "__main__":
    with world.joined() as joined:
        Path(sys.argv[1], f"rank-{joined.rank}.json").write_text(json.dumps(search(joined, 1)))
