"""The report's view of the search: indicators and weights over epochs, patches."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from markupsafe import Markup
from torch import Tensor

from midas.data.prepared import load_split
from midas.genotype import CellGenotype, Edge, Genotype
from pipeline import paths
from pipeline.report import charts
from pipeline.report.values import Series, Sources

SELECT = f"{paths.GENOTYPE}/select.json"
# (title, column of history.csv, column to subtract from it, limits of the axis)
INDICATORS = (
    ("held-out accuracy", "arch_accuracy", "", (0.0, 1.0)),
    ("discretisation gap", "supernet_accuracy", "subnetwork_accuracy", None),
    ("skip connections", "skips", "", None),
    ("margin of the best operation", "margin", "", None),
    ("entropy of the weights, nats", "entropy", "", None),
)
WEIGHT_KEYS = ("cell", "node", "inputs", "choice")


class SearchView:
    """The charts of the search, each drawn when the page asks for it."""

    def __init__(self, sources: Sources, genotype: Genotype) -> None:
        self.sources = sources
        self.genotype = genotype
        self.seeds: dict[int, Genotype] = {}  # all seeds concatenate the same nodes
        self.kept_index: int | None = None  # of the kept seed in select.json, if there are seeds
        for k, entry in enumerate(sources.value(SELECT, "seeds")):
            if entry["kept"]:
                self.kept_index = k
            cells = {
                kind: CellGenotype(tuple(map(Edge._make, edges)), genotype.cells[kind].concat)
                for kind, edges in entry["genotype"].items()
            }
            self.seeds[entry["seed"]] = Genotype(genotype.space, cells)
        self.kept = str(sources.value(SELECT, "kept_seed"))
        self.weights_file = f"{paths.SEARCH}/seed-{self.kept}/weights.csv"
        self.patches_file = f"{paths.ANALYSIS}/patches.csv"
        self.images_file = f"{paths.ANALYSIS}/images.safetensors"
        choices = dict.fromkeys(row["choice"] for row in sources.rows(self.weights_file))
        choices.pop("pair", None)
        self.colours = {
            op: f"var(--series-{k % len(charts.COLOURS)})" for k, op in enumerate(choices)
        }

    def shared_edges(self) -> list[tuple[str, str, str, int]]:
        """(cell type, edge, operation, number of seeds) of every edge, the most frequent first."""
        counts = Counter(edge for genotype in self.seeds.values() for edge in _edges(genotype))
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return [(*edge, count) for edge, count in ordered]

    def indicators(self) -> list[Markup]:
        """The indicators of all seeds over epochs; some are empty, e.g. for random search."""
        drawn = []
        for title, column, minus, limits in INDICATORS:
            series = {
                f"seed {seed}": self.sources.series(
                    f"{paths.search(seed)}/history.csv", "epoch", column, minus
                )
                for seed in self.seeds
            }
            label = f"search: {title} over epochs"
            drawn.append(charts.lines(label, series, title, limits=limits))
        return drawn

    def weight_panels(self) -> Iterator[tuple[str, str, list[Markup]]]:
        """Yield (cell type, node, charts) for each node: a chart per edge, then one for pairs."""
        nodes: dict[tuple[str, str], dict[str, dict[str, Series]]] = defaultdict(dict)
        rows = self.sources.rows(self.weights_file)
        for key in dict.fromkeys(tuple(row[name] for name in WEIGHT_KEYS) for row in rows):
            kind, node, inputs, choice = key
            panel, line = ("pairs", inputs) if choice == "pair" else (inputs, choice)
            where = dict(zip(WEIGHT_KEYS, key, strict=True))
            series = self.sources.series(self.weights_file, "epoch", "weight", **where)
            nodes[kind, node].setdefault(panel, {})[line] = series
        for (kind, node), panels in nodes.items():
            drawn = []
            for panel, lines in panels.items():
                is_pairs = panel == "pairs"
                title = f"pairs kept by node {node}" if is_pairs else f"{panel} to {node}"
                label = f"{kind} cell, {title}: weight over epochs"
                y = "probability" if is_pairs else "weight"
                drawn.append(charts.lines(label, lines, y, title=title, legend=is_pairs))
            yield kind, node, drawn

    def images(self) -> list[tuple[Tensor, str]]:
        """The images that patches are shown for, uint8 [3, H, W], and their classes."""
        if not self.sources.has(self.images_file):
            return []
        split = load_split(self.sources.root / self.images_file)
        classes = self.sources.value(f"{paths.DATA}/meta.json", "classes")
        labels = [classes[label] for label in split.labels.tolist()]
        return list(zip(split.images, labels, strict=True))

    def patch_maps(self) -> Iterator[tuple[str, str, str, list[Markup]]]:
        """Yield (cell, edge, decoded operation, one map per image) for each edge of patches.csv."""
        decoded = {(f"{kind} 0", edge): op for kind, edge, op in _edges(self.genotype)}
        images = self.images()
        rows = self.sources.rows(self.patches_file, seed=self.kept)
        for cell, edge in dict.fromkeys((row["cell"], row["edge"]) for row in rows):
            maps = [self._patch_map(cell, edge, n, *shown) for n, shown in enumerate(images)]
            yield cell, edge, decoded.get((cell, edge), "another operation"), maps

    def _patch_map(self, cell: str, edge: str, number: int, image: Tensor, name: str) -> Markup:
        where = {"seed": self.kept, "cell": cell, "edge": edge, "image": str(number)}
        patches = self.sources.rows(self.patches_file, **where)
        counts = Counter(patch["operation"] for patch in patches).most_common()
        operations = ", ".join(f"{op} in {count}" for op, count in counts)
        label = f"an image of class {name}: {operations} patches"
        origin = self.sources.origin(self.patches_file, **where)
        return charts.patch_map(image, patches, self.colours, label, origin)


def _edges(genotype: Genotype) -> list[tuple[str, str, str]]:
    return [
        (kind, f"{edge.source} to {edge.target}", edge.op)
        for kind, cell in genotype.cells.items()
        for edge in cell.edges
    ]
