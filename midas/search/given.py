"""A cell that is known beforehand in place of a search: the parameter `search.genotype`.

So a cell is trained on other data than those it was found on. The stages run as ever; what a search would have left (its
weights, its history, the evidence for the cell) is there and empty.
"""

from pathlib import Path
from typing import Any

from safetensors.torch import save

from midas.genotype import Genotype, load_genotype
from midas.runs import files
from midas.runs.errors import GenotypeError, ParamsError
from midas.search.config import SearchConfig
from midas.search.selection import EVIDENCE
from midas.spaces.space import Space

HISTORY, WEIGHTS = "epoch,arch_accuracy\n", "epoch,cell,node,inputs,choice,weight\n"
SEEDS = "seed,subnetwork_accuracy,patches\n"


def given_genotype(space: Space, config: SearchConfig, written: Path) -> Genotype | None:
    """The cell that the parameters name; None where one is to be searched.

    Args:
        space: the space of the parameters, which must be the cell's.
        config: the section `search`.
        written: the folder in which the decode stage writes a genotype, so that none there can be the source.

    Raises:
        GenotypeError: it is no cell of its space.
        ParamsError: it cannot be read, is of another space, or lies where the decode stage writes.
    """
    if config.genotype is None:
        return None
    if Path(config.genotype).resolve().is_relative_to(written.resolve()):
        raise ParamsError(f"search.genotype: {config.genotype} lies where this pipeline writes its own; copy it first")
    try:
        genotype = load_genotype(config.genotype)
    except GenotypeError as error:
        raise ParamsError(f"search.genotype: {error}") from error
    if genotype.space != space.name:
        raise ParamsError(
            f"search.genotype: {config.genotype} is of the space {genotype.space}; set space: {genotype.space}"
        )
    space.check(genotype)
    return genotype


def leave_empty(folder: Path) -> None:
    """Write what a search writes, with nothing in it."""
    files.write_bytes(folder / "search.safetensors", save({}))
    files.write_text(folder / "history.csv", HISTORY)
    files.write_text(folder / "weights.csv", WEIGHTS)


def no_evidence() -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of decode.json and of metrics.json where nothing was searched; what was not measured is null."""
    unknown = {"kept_seed": None, "agreement": None}
    return {**unknown, "seeds": []}, {**unknown, "seeds": 0, "steps": 0, **dict.fromkeys(EVIDENCE)}
