"""A known cell in place of a search (`search.genotype`), to be trained on other data.

The stages run as ever; what a search would have written is there and empty.
"""

from pathlib import Path

from safetensors.torch import save

from midas.genotype import Genotype, load_genotype
from midas.io import files
from midas.io.errors import GenotypeError, ParamsError
from midas.search.config import SearchConfig
from midas.spaces.space import Space

SEEDS_HEADER = "seed,subnetwork_accuracy,patches\n"


def fixed_genotype(space: Space, config: SearchConfig, written: Path) -> Genotype | None:
    """The cell that the parameters name; None where one is searched.

    Raises:
        GenotypeError: it is not a cell of its space.
        ParamsError: it cannot be read, is of another space, or lies in the folder `written`.
    """
    if config.genotype is None:
        return None
    if Path(config.genotype).resolve().is_relative_to(written.resolve()):
        raise ParamsError(
            f"search.genotype: {config.genotype} lies where this pipeline writes its own; copy it "
            "first"
        )
    try:
        genotype = load_genotype(config.genotype)
    except GenotypeError as error:
        raise ParamsError(f"search.genotype: {error}") from error
    if genotype.space != space.name:
        raise ParamsError(
            f"search.genotype: {config.genotype} is of the space {genotype.space}; set space: "
            f"{genotype.space}"
        )
    space.check(genotype)
    return genotype


def write_empty_search(folder: Path) -> None:
    """Write what a search writes, with nothing in it."""
    files.write_bytes(folder / "search.safetensors", save({}))
    files.write_text(folder / "history.csv", "epoch,step,arch_accuracy\n")
    files.write_text(folder / "weights.csv", "epoch,cell,node,inputs,choice,weight\n")
