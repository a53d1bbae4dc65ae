"""What a found cell is: its model, text forms and hash. This room knows no search space."""

from midas.genotype.cell import CellGenotype, Edge
from midas.genotype.model import Genotype, load_genotype, save_genotype, to_line

__all__ = ["CellGenotype", "Edge", "Genotype", "load_genotype", "save_genotype", "to_line"]
