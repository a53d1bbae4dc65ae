"""What the report shows of the search: weights over epochs, patches, spreads over samples, indicators."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup
from torch import Tensor

from midas.data.prepared import load_split
from midas.genotype import Genotype
from midas.report import charts
from midas.report.pixels import patch_map, thumbnail
from midas.report.sources import Plotted, Sources

ANALYSIS = "artifacts/analysis"
INDICATORS = (
    ("skips", "skip connections"),
    ("margin", "margin of the best operation"),
    ("entropy", "entropy of the weights, nats"),
)


def shared_edges(cells: Sequence[Genotype]) -> list[tuple[str, str, str, int]]:
    """(cell, edge, operation, number of seeds) for every edge that a seed chose, the most agreed on first."""
    counts = Counter(
        (kind, f"{edge.source} to {edge.target}", edge.op)
        for cell in cells
        for kind, part in cell.cells.items()
        for edge in part.edges
    )
    return [(*key, n) for key, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


class SearchView:
    """The charts of the search, each made when the page asks for it.

    Args:
        sources: the files.
        seeds: all seeds, in order.
    """

    def __init__(self, sources: Sources, seeds: Sequence[int]) -> None:
        self.sources, self.seeds = sources, seeds
        self.kept: int = sources.value("artifacts/genotype/decode.json", "kept_seed")
        self.colours: dict[str, str] = {}
        for row in sources.rows(self.weights_file):
            if row["choice"] != "pair":
                self.colours.setdefault(row["choice"], f"var(--series-{len(self.colours) % len(charts.SERIES)})")

    @property
    def weights_file(self) -> str:
        """Where the weights of the kept seed's epochs stand."""
        return f"artifacts/search/seed-{self.kept}/weights.csv"

    def history_file(self, seed: int) -> str:
        """Where a seed's epochs stand."""
        return f"artifacts/search/seed-{seed}/history.csv"

    def weight_panels(self) -> Iterator[tuple[str, str, list[Markup]]]:
        """For each node of each type of cell (type, node) the charts of its edges, then that of its pairs."""
        nodes: dict[tuple[str, str], dict[str, dict[str, Plotted]]] = defaultdict(dict)
        for row in self.sources.rows(self.weights_file):
            pair = row["choice"] == "pair"
            panel, name = ("pairs", row["inputs"]) if pair else (row["inputs"], row["choice"])
            lines = nodes[row["cell"], row["node"]].setdefault(panel, {})
            if name not in lines:
                where = {key: row[key] for key in ("cell", "node", "inputs", "choice")}
                lines[name] = self.sources.plotted(self.weights_file, "epoch", "weight", **where)
        for (kind, node), panels in nodes.items():
            yield kind, node, [self._panel(kind, node, name, lines) for name, lines in panels.items()]

    def _panel(self, kind: str, node: str, name: str, lines: dict[str, Plotted]) -> Markup:
        title = f"pairs kept by node {node}" if name == "pairs" else f"{name} to {node}"
        return charts.lines(
            f"{kind} cell, {title}: weight over epochs",
            lines,
            "epoch",
            "probability" if name == "pairs" else "weight",
            title=title,
            size=charts.PANEL,
            legend=name == "pairs",
        )

    def images(self) -> list[Markup]:
        """The images over which patch maps are shown, by themselves."""
        return [thumbnail(image, f"an image of class {name}") for image, name in self._shown()]

    def _shown(self) -> list[tuple[Tensor, str]]:
        """The shown images and their classes."""
        path = self.sources.root / ANALYSIS / "images.safetensors"
        if not path.is_file():
            return []
        shown, names = load_split(path), self.sources.value("artifacts/data/meta.json", "classes")
        return [(image, names[label]) for image, label in zip(shown.images, shown.labels.tolist(), strict=True)]

    def patch_maps(self, genotype: Genotype) -> Iterator[tuple[str, str, str, list[Markup]]]:
        """For each edge of the kept genotype (cell, edge, its operation) the maps over the shown images."""
        file, seed, shown = f"{ANALYSIS}/patches.csv", str(self.kept), self._shown()
        chosen = {
            (f"{kind} 0", f"{e.source} to {e.target}"): e.op for kind, c in genotype.cells.items() for e in c.edges
        }
        places: dict[tuple[str, str], dict[int, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
        for row in self.sources.having(file, seed=seed):
            places[row["cell"], row["edge"]][int(row["image"])].append(row)
        for (cell, edge), images in places.items():
            yield (
                cell,
                edge,
                chosen.get((cell, edge), "another operation"),
                [
                    patch_map(
                        shown[n][0],
                        cells,
                        self.colours,
                        f"an image of class {shown[n][1]}: "
                        + ", ".join(f"{op} in {k}" for op, k in Counter(c["operation"] for c in cells).most_common())
                        + " patches",
                        self.sources.origin(file, seed=seed, cell=cell, edge=edge, image=str(n)),
                    )
                    for n, cells in sorted(images.items())
                ],
            )

    def spreads(self) -> list[Markup]:
        """For each chosen edge of each cell, how the weight of its operation spreads over samples."""
        file, seed = f"{ANALYSIS}/spreads.csv", str(self.kept)
        last = {(r["cell"], r["edge"], r["operation"]): r for r in self.sources.having(file, seed=seed)}
        return [
            charts.bars(
                f"{cell}, {edge}: weight of {operation} over samples",
                self.sources.plotted(file, "from", "samples", seed=seed, cell=cell, edge=edge, operation=operation),
                float(row["to"]),
                operation,
                "images",
                title=f"{cell}, {edge}",
            )
            for (cell, edge, operation), row in last.items()
        ]

    def indicators(self) -> list[Markup]:
        """Over epochs, for every seed: accuracy on the held-out half, discretisation gap, skips, margin, entropy."""
        return [
            *self._over_epochs("held-out accuracy", "arch_accuracy", limits=(0, 1)),
            *self._over_epochs("discretisation gap", "supernet_accuracy", minus="subnetwork_accuracy"),
            *(chart for column, text in INDICATORS for chart in self._over_epochs(text, column)),
        ]

    def _over_epochs(
        self, text: str, column: str, minus: str = "", limits: tuple[float, float] | None = None
    ) -> list[Markup]:
        """The chart, or none where no seed has such a number (random search: no held-out accuracy)."""
        found = {
            f"seed {seed}": self.sources.plotted(self.history_file(seed), "epoch", column, minus) for seed in self.seeds
        }
        series = {name: plotted for name, plotted in found.items() if plotted.points}
        label = f"search: {text} over epochs"
        return [charts.lines(label, series, "epoch", text, limits=limits)] if series else []

    def analysed(self) -> list[dict[str, Any]]:
        """The entries of analysis.json, one for each seed; none where it was not run."""
        file = f"{ANALYSIS}/analysis.json"
        entries: list[dict[str, Any]] = self.sources.value(file, "seeds") if self.sources.has(file) else []
        return entries
