"""The report's view of a target: curves, confusion, the worst mistakes, parity, latency."""

from collections import Counter
from collections.abc import Iterator

from markupsafe import Markup

from midas.data.prepared import load_split
from midas.io import files
from pipeline import paths
from pipeline.report import charts
from pipeline.report.values import Sources

MATRIX_CLASSES = 20  # up to this many classes, the confusion is a matrix
CONFUSED_PAIRS = 12  # with more classes, this many pairs are listed
CURVES = {
    "loss": ("train_loss", "val_loss"),
    "accuracy": ("train_accuracy", "val_accuracy"),
    "learning rate": ("learning_rate",),
}


class TargetView:
    """The tables and charts of one target, and the files behind them."""

    def __init__(self, sources: Sources, name: str) -> None:
        self.sources = sources
        self.name = name
        self.tested = f"{paths.EVALUATE}/{name}/details.json"
        self.predictions = f"{paths.EVALUATE}/{name}/predictions.csv"
        self.mistakes_file = f"{paths.EVALUATE}/{name}/mistakes.safetensors"
        self.built = f"{paths.BUILD}/{name}/metrics.json"
        self.seeds = f"{paths.BUILD}/{name}/seeds.csv"
        training = paths.training(name, int(sources.value(self.built, "kept_seed")))
        self.history = f"{training}/history.csv"
        self.trained = f"{training}/metrics.json"
        self.cost = f"{training}/cost.json"
        self.weights = f"{training}/last.safetensors"
        self.parity = f"{paths.MODELS}/{name}/parity.json"
        self.latency = f"{paths.MODELS}/{name}/latency.json"
        self.classes: list[str] = sources.value(f"{paths.DATA}/meta.json", "classes")
        self.is_matrix = len(self.classes) <= MATRIX_CLASSES
        predictions = sources.rows(self.predictions)
        self._pairs = Counter((row["actual"], row["predicted"]) for row in predictions)
        self._actual = Counter(row["actual"] for row in predictions)

    def curves(self) -> list[Markup]:
        """Loss, accuracy and learning rate over epochs."""
        drawn = []
        for title, columns in CURVES.items():
            series = {
                column.replace("_", " "): self.sources.series(self.history, "epoch", column)
                for column in columns
            }
            label = f"training of {self.name}: {title} over epochs"
            drawn.append(charts.lines(label, series, title))
        return drawn

    def share(self, actual: str, predicted: str) -> str:
        """The percentage of a class with this prediction, for the colour of the matrix."""
        return f"{100 * self._pairs[actual, predicted] / max(1, self._actual[actual]):.0f}%"

    def confused(self) -> list[tuple[str, str]]:
        """The most often confused pairs of classes, (actual, predicted)."""
        pairs = [pair for pair, _ in self._pairs.most_common() if pair[0] != pair[1]]
        return pairs[:CONFUSED_PAIRS]

    def mistakes(self) -> Iterator[tuple[int, dict[str, str], Markup]]:
        """Yield (row number, row of predictions.csv, thumbnail) for each of the worst mistakes."""
        if not self.sources.has(self.mistakes_file):
            return
        images = load_split(self.sources.root / self.mistakes_file).images
        numbers = self.sources.value(f"{paths.EVALUATE}/{self.name}/mistakes.json", "images")
        for image, number in zip(images, numbers, strict=True):
            row = self.sources.rows(self.predictions)[number]
            alt = f"test image {number}, {row['actual']} taken for {row['predicted']}"
            yield number, row, charts.thumbnail(image, alt)

    def is_timed(self) -> bool:
        """Whether the recorded training time belongs to the present weights."""
        if not (self.sources.has(self.cost) and self.sources.has(self.weights)):
            return False
        recorded = self.sources.value(self.cost).get("sha256")
        return bool(recorded == files.sha256(self.sources.root / self.weights))

    def latencies(self) -> list[int]:
        """The indices of the results in latency.json; none if it belongs to another ONNX file."""
        measured = self.sources.value(self.latency) if self.sources.has(self.latency) else {}
        is_current = measured.get("sha256") == self.sources.value(self.parity, "sha256")
        return list(range(len(measured["results"]))) if is_current else []
