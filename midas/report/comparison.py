"""Several experiments in one page: what differs in their parameters, their numbers, their cells and their curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from midas.genotype import load_genotype
from midas.report import charts
from midas.report.drawing import draw_inline
from midas.report.page import environment
from midas.report.sources import Sources, footnote
from midas.report.trained import kept_training

GENOTYPE = "artifacts/genotype"
FILES = (f"{GENOTYPE}/genotype.json", f"{GENOTYPE}/metrics.json", f"{GENOTYPE}/decode.json")
SEARCH_ROWS = (
    ("agreement", "agreement of the seeds", "{:.0%}"),
    ("steps", "search steps a seed", "{:,}"),
    ("subnetwork_accuracy", "sub-network, held-out half", "{:.1%}"),
    ("supernet_accuracy", "supernet, held-out half", "{:.1%}"),
    ("discretisation_gap", "discretisation gap", "{:.3f}"),
    ("skips", "skip connections", "{:,}"),
    ("margin", "margin of the best operation", "{:.4f}"),
)


@dataclass(frozen=True)
class Experiment:
    """One experiment's files in a folder of their own, and its parameters."""

    name: str
    root: Path
    params: Mapping[str, Any]


def render_comparison(experiments: Sequence[Experiment]) -> str:
    """The page, as HTML; raises MidasError where an experiment lacks a file."""
    sources = [Sources(experiment.root, experiment.name) for experiment in experiments]
    names = [experiment.name for experiment in experiments]
    targets = sorted({target for experiment in experiments for target in experiment.params["targets"]})
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            title="MIDAS report: " + ", ".join(names),
            names=names,
            sources=sources,
            differing=differences([experiment.params for experiment in experiments]),
            rows=SEARCH_ROWS,
            targets=targets,
            cells=[Markup(draw_inline(load_genotype(source.root / GENOTYPE / "genotype.json"))) for source in sources],
            curves=[curve for curve in (_searches(sources), *(_trainings(sources, t) for t in targets)) if curve],
            footnote=footnote,
        )
    )


def differences(params: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The dotted names of the parameters that are not the same in all, with the value in each (a dash where it has none)."""
    flat = [dict(_flat("", each)) for each in params]
    names = sorted({name for each in flat for name in each})
    rows = [(name, [str(each.get(name, "-")) for each in flat]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        return [(prefix, value)]
    return [pair for key, inner in value.items() for pair in _flat(f"{prefix}.{key}" if prefix else str(key), inner)]


def _searches(sources: Sequence[Sources]) -> Any:
    """The held-out accuracy of each experiment's kept seed over epochs."""
    series = {}
    for source in sources:
        kept = source.value(f"{GENOTYPE}/decode.json", "kept_seed")
        file = f"artifacts/search/seed-{kept}/history.csv"
        plotted = source.plotted(file, "epoch", "arch_accuracy")
        if plotted.points:
            series[source.revision] = plotted
    label = "search: held-out accuracy of the kept seeds over epochs"
    return series and charts.lines(label, series, "epoch", "held-out accuracy, search", limits=(0, 1))


def _trainings(sources: Sequence[Sources], target: str) -> Any:
    """The validation accuracy of each experiment's kept training of a target over epochs."""
    series = {}
    for source in sources:
        if source.has(f"artifacts/build/{target}/metrics.json"):
            file = f"{kept_training(source, target)}/history.csv"
            series[source.revision] = source.plotted(file, "epoch", "val_accuracy")
    name = f"validation accuracy of {target}"
    return series and charts.lines(name, series, "epoch", name)
