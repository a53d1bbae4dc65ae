"""A cell that is known beforehand takes the place of a search."""

from pathlib import Path
from typing import Any

import pytest

from midas.genotype import Genotype, save_genotype
from midas.io.errors import ParamsError
from midas.search.config import SearchConfig
from midas.search.run import fixed_genotype
from midas.spaces import get_space
from midas.zoo.registry import ZOO

DARTS_V2 = Genotype.from_value(ZOO["darts_v2"]["genotype"])
ARCH = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


def taken(genotype: Any, tmp_path: Path, space: str = "darts") -> Genotype | None:
    return fixed_genotype(
        get_space(space), SearchConfig(genotype=genotype), tmp_path / "artifacts/genotype"
    )


def test_without_the_parameter_a_cell_is_searched(tmp_path: Path) -> None:
    assert taken(None, tmp_path) is None


def test_a_file_or_an_arch_string_is_taken(tmp_path: Path) -> None:
    save_genotype(tmp_path / "cell.json", DARTS_V2)
    assert taken(str(tmp_path / "cell.json"), tmp_path) == DARTS_V2
    assert taken(ARCH, tmp_path, "nasbench201") == Genotype.from_arch(ARCH)


def test_a_cell_of_another_space_names_the_parameter_to_set(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="is of the space nasbench201; set space: nasbench201"):
        taken(ARCH, tmp_path)


def test_a_file_that_the_decode_stage_would_delete_first_is_refused(tmp_path: Path) -> None:
    save_genotype(tmp_path / "artifacts/genotype/genotype.json", DARTS_V2)
    with pytest.raises(ParamsError, match="lies where this pipeline writes its own; copy it first"):
        taken(str(tmp_path / "artifacts/genotype/genotype.json"), tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ParamsError,
        match=r"^search\.genotype: .*nowhere\.json: there is no such file; a genotype is",
    ):
        taken(str(tmp_path / "nowhere.json"), tmp_path)
