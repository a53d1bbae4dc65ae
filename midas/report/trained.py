"""What the report shows of one target: curves, confusion, the worst mistakes, parity, latency."""

from collections import Counter
from pathlib import Path
from typing import Any

from markupsafe import Markup

from midas.data.prepared import load_split
from midas.report import charts
from midas.report.pixels import thumbnail
from midas.report.sources import Sources
from midas.runs import files

MATRIX = 20  # classes up to which the confusion is shown as a matrix
CONFUSED = 12  # pairs of classes that are listed


def kept_training(sources: Sources, name: str) -> str:
    """The folder of a target's training that was built; raises MidasError where none was."""
    return f"artifacts/train/{name}/seed-{int(sources.value(f'artifacts/build/{name}/metrics.json', 'kept_seed'))}"


class TargetView:
    """The tables and charts of one target.

    Args:
        sources: the files.
        name: of the target.
    """

    def __init__(self, sources: Sources, name: str) -> None:
        self.sources, self.name = sources, name
        self.tested = f"artifacts/evaluate/{name}/metrics.json"
        self.predictions = f"artifacts/evaluate/{name}/predictions.csv"
        self.built = f"artifacts/build/{name}/metrics.json"
        self.seeds = f"artifacts/build/{name}/seeds.csv"
        self.history, self.trained, self.cost = (
            f"{kept_training(sources, name)}/{file}" for file in ("history.csv", "metrics.json", "cost.json")
        )
        self.parity = f"models/{name}/parity.json"
        self.latency = f"models/{name}/latency.json"
        self._pairs = Counter((row["actual"], row["predicted"]) for row in sources.rows(self.predictions))

    def curves(self) -> list[Markup]:
        """Loss, accuracy and learning rate over epochs."""
        rows = self.sources.rows(self.history)
        groups = {
            "loss": ("train_loss", "val_loss"),
            "accuracy": ("train_accuracy", "val_accuracy"),
            "learning rate": ("learning_rate",),
        }
        return [
            charts.lines(
                f"training of {self.name}: {title} over epochs",
                {
                    column.replace("_", " "): self.sources.plotted(self.history, "epoch", column)
                    for column in columns
                    if column in rows[0]
                },
                "epoch",
                title,
            )
            for title, columns in groups.items()
            if rows
        ]

    def trainings(self) -> int:
        """How many seeds were trained."""
        return len(self.sources.rows(self.seeds))

    def classes(self) -> list[str]:
        """The class names."""
        names: list[str] = self.sources.value("artifacts/data/meta.json", "classes")
        return names

    def is_matrix(self) -> bool:
        """Whether there are few enough classes for a matrix."""
        return len(self.classes()) <= MATRIX

    def count(self, actual: str, predicted: str) -> Markup:
        """How many test images of a class were taken for a class."""
        return self.sources.count(self.predictions, actual=actual, predicted=predicted)

    def shade(self, actual: str, predicted: str) -> str:
        """How dark the cell of the matrix is, in percent of its row."""
        whole = sum(n for (row, _), n in self._pairs.items() if row == actual)
        return f"{100 * self._pairs[actual, predicted] / max(1, whole):.0f}%"

    def confused(self) -> list[tuple[str, str]]:
        """The pairs of classes that were most often confused, (actual, predicted)."""
        wrong = Counter({pair: n for pair, n in self._pairs.items() if pair[0] != pair[1]})
        return [pair for pair, _ in wrong.most_common(CONFUSED)]

    def mistakes(self) -> list[dict[str, Any]]:
        """The worst mistakes: picture, actual and predicted class, confidence."""
        folder = f"artifacts/evaluate/{self.name}"
        if not self.sources.has(f"{folder}/mistakes.json"):
            return []
        worst = self.sources.value(f"{folder}/mistakes.json", "images")
        shown, rows = (
            load_split(self.sources.root / folder / "mistakes.safetensors"),
            self.sources.rows(self.predictions),
        )
        return [
            {
                "picture": thumbnail(image, f"test image {k}, {rows[k]['actual']} taken for {rows[k]['predicted']}"),
                "actual": rows[k]["actual"],
                "predicted": rows[k]["predicted"],
                "confidence": self.sources.cell(self.predictions, k, "confidence", "{:.1%}"),
            }
            for image, k in zip(shown.images, worst, strict=True)
        ]

    def what(self) -> str:
        """What the file gives: logits, or probabilities."""
        return str(self.sources.value(self.parity, "output"))

    def is_timed(self) -> bool:
        """Whether the training time that stands here is that of this very training."""
        last = self.sources.root / Path(self.cost).with_name("last.safetensors")
        if not (self.sources.has(self.cost) and last.is_file()):
            return False
        return bool(self.sources.value(self.cost).get("sha256") == files.sha256(last))

    def latencies(self) -> list[int]:
        """The places of the batch sizes in latency.json; none where it was not measured for this very file."""
        if not self.sources.has(self.latency):
            return []
        if self.sources.value(self.latency, "sha256") != self.sources.value(self.parity, "sha256"):
            return []
        return list(range(len(self.sources.value(self.latency, "results"))))
