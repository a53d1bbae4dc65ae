"""The sizes that files ask for are bounded before anything of that size is allocated."""

import json
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm

from midas.genotype import Genotype, load_genotype
from midas.io import files
from midas.io.errors import GenotypeError, MidasError, ModelFolderError, ParamsError
from midas.nets.build import build_network
from midas.search.config import SearchConfig
from midas.train.config import TargetConfig
from midas.zoo.model_folder import build_trained, open_model_folder, save_model_folder
from midas.zoo.registry import ZOO
from pipeline import params

DARTS, BENCH = (Genotype.from_value(ZOO[name]["genotype"]) for name in ("darts_v2", "nb201_best"))


@pytest.fixture(autouse=True)
def _little_memory_and_time() -> Iterator[None]:
    """Each refusal takes less than 50 MB of Python's memory, and less than five seconds."""
    tracemalloc.start()
    start = time.process_time()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6
    assert time.process_time() - start < 5


@pytest.fixture
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def built(*args: object, **kwargs: object) -> None:
        raise AssertionError("a network of absurd size was about to be built")

    monkeypatch.setattr("midas.nets.build.MidasNet", built)


@pytest.mark.usefixtures("nothing_is_built")
@pytest.mark.parametrize(
    ("genotype", "sizes", "message"),
    [
        (DARTS, {"channels": 10**9}, "channels: 1000000000 is not allowed"),
        (DARTS, {"cells": 10**9}, "cells: 1000000000 is not allowed"),
        (DARTS, {"num_classes": 10**9}, "num_classes: 1000000000 is not allowed"),
        (DARTS, {"in_chans": 10**9}, "in_chans: 1000000000 is not allowed"),
        (DARTS, {"channels": 512, "cells": 64}, "could have 2,875,277,312 weights"),
        (DARTS, {"channels": 512, "cells": 8, "num_classes": 100_000}, "weights; at most"),
        (BENCH, {"channels": 512, "cells": 64}, "weights; at most"),
        (DARTS, {"channels": True}, "channels: True is not allowed"),
        (DARTS, {"channels": 8.5}, "channels: 8.5 is not allowed"),
    ],
)
def test_a_network_of_absurd_size_is_not_built(
    genotype: Genotype, sizes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        build_network(genotype, **{"num_classes": 10, "channels": 16, "cells": 5, **sizes})
    arguments = {"genotype": json.loads(genotype.to_json()), "channels": 16, "cells": 5, **sizes}
    with pytest.raises(ParamsError, match=message):  # the way of timm.create_model("local-dir:...")
        timm.create_model("midas_network", **{"num_classes": 10, **arguments})


@pytest.mark.parametrize(
    ("genotype", "size"),
    [(DARTS, (36, 20)), (DARTS, (48, 14)), (DARTS, (512, 20)), (BENCH, (16, 5))],
)
def test_published_sizes_and_far_larger_ones_are_allowed(
    genotype: Genotype, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midas.nets.build.MidasNet", lambda *args, **kwargs: "built")
    assert build_network(genotype, num_classes=1000, channels=size[0], cells=size[1]) == "built"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from midas.data.prepared import DataMeta

    resize: dict[str, int | str] = {"resize": 8, "interpolation": "bilinear", "crop": "center"}
    meta = DataMeta(
        ("a", "b"), 8, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), {"train": 2}, "f", "npz", resize, 0
    )
    size = {"channels": 2, "cells": 2, "skeleton": "cifar"}
    model = build_trained(
        DARTS, build_network(DARTS, num_classes=2, **size).state_dict(), meta, **size
    )
    path = tmp_path_factory.mktemp("models") / "m"
    save_model_folder(path, model, DARTS, meta, "a card\n")
    return path


def change_argument(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["model_args"].update(changes)


def change_image(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["pretrained_cfg"].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        change_argument(channels=512, cells=64),
        change_argument(in_chans=10**6),
        change_argument(global_pool="x"),
        change_argument(file="/etc/passwd"),
        lambda config: config.update(architecture="resnet50"),
        lambda config: config.update(num_classes=10**9),
        change_image(input_size=[3, 10**6, 10**6]),
        change_image(input_size=[10**9, 8, 8]),
        change_image(crop_pct=1e-9),
        change_image(mean=["x"]),
        lambda config: config.update(label_names=["a"] * 1000),
    ],
)
def test_a_model_folder_that_asks_for_the_absurd_is_refused(
    change: Callable[[dict[str, Any]], None], folder: Path, tmp_path: Path
) -> None:
    for name in ("config.json", "genotype.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = files.read_json(tmp_path / "config.json")
    change(config)
    files.write_json(tmp_path / "config.json", config)
    with pytest.raises(ModelFolderError) as caught:
        open_model_folder(tmp_path)
    assert str(caught.value).isprintable()


def test_the_folder_itself_is_accepted(folder: Path) -> None:
    assert open_model_folder(folder)[0].num_classes == 2


@pytest.mark.parametrize(
    "read",
    [
        load_genotype,
        files.read_json,
        params.read,
        lambda path: params.section("search", SearchConfig, path),
    ],
)
def test_a_file_of_a_terabyte_is_refused_by_its_size(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "huge"
    path.touch()
    os.truncate(path, 2**40)  # takes no room on the disk
    with pytest.raises(MidasError, match=r"has 1,099,511,627,776 bytes; such a file has at most"):
        read(path)


@pytest.mark.parametrize(
    "text", ["{" + " " * 2**20 + "}", "|a~0|" + "+|a~0|" * 2**18, "Genotype(" + " " * 2**20 + ")"]
)
def test_a_genotype_of_a_megabyte_is_refused(text: str) -> None:
    with pytest.raises(GenotypeError, match="at most 1,048,576"):
        load_genotype(text)


def test_a_cell_of_more_nodes_than_any_has_is_refused() -> None:
    cell = {"edges": [["skip_connect", k, k + 1] for k in range(64)], "concat": [64]}
    with pytest.raises(GenotypeError, match="below 64"):
        Genotype.from_value({"schema": 1, "space": "darts", "cells": {"normal": cell}})


@pytest.mark.parametrize(
    "key", ["channels", "cells", "epochs", "batch_size", "image_size", "width"]
)
def test_parameters_of_a_search_have_upper_bounds(key: str) -> None:
    with pytest.raises(ValueError, match="less than or equal"):
        SearchConfig.model_validate({key: 10**12})


@pytest.mark.parametrize(
    "key", ["channels", "cells", "epochs", "batch_size", "accumulate", "start_size"]
)
def test_parameters_of_a_target_have_upper_bounds(key: str) -> None:
    with pytest.raises(ValueError, match="less than or equal"):
        TargetConfig.model_validate({key: 10**12})


def test_aliases_that_stand_for_billions_are_named_in_one_short_line(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]"
        for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
    ]
    for key in ("channels", "augment", "exclude"):
        (tmp_path / "p.yaml").write_text("\n".join([*lines, f"search: {{{key}: *k}}"]))
        with pytest.raises(ParamsError, match=f"search.{key}") as caught:
            params.section("search", SearchConfig, tmp_path / "p.yaml")
        assert len(str(caught.value)) <= 2100
