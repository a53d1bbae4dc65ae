"""Charts as inline SVG: drawn by matplotlib, coloured by the page's own variables, so that they follow light and dark.

matplotlib writes colours as they were given. Those of `PAPER` stand for a variable of the page's style sheet and are
replaced by it in the finished SVG.
"""

import io
import re
import zlib
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from midas.report.sources import Plotted

INK, FAINT = "#010203", "#040506"
SERIES = tuple(f"#0a0b{k:02x}" for k in range(8))
PAPER = {INK: "--ink", FAINT: "--faint", **{colour: f"--series-{k}" for k, colour in enumerate(SERIES)}}
DASHES = ("-", "--", "-.", ":")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, small, in the page's font
    "svg.hashsalt": "midas",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,  # a tick's label is its value
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
PANEL, WIDE = (2.7, 1.9), (4.0, 2.3)  # inches; a wide chart is still readable at the width of a telephone


def lines(
    label: str,
    series: Mapping[str, Plotted],
    x: str,
    y: str,
    *,
    title: str = "",
    size: tuple[float, float] = WIDE,
    limits: tuple[float, float] | None = None,
    legend: bool = True,
) -> Markup:
    """A line chart.

    Args:
        label: what it shows, for those who cannot see it; no other chart of the page has the same.
        series: what is plotted, by name; colours and dashes follow their order.
        x: the label of the horizontal axis.
        y: the label of the vertical axis.
        title: above the chart.
        size: in inches.
        limits: of the vertical axis.
        legend: whether the names stand in the chart.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _new(size, title, x, y)
        for k, ((name, plotted), colour) in enumerate(zip(series.items(), cycle(SERIES), strict=False)):
            style = DASHES[k // len(SERIES) % len(DASHES)]
            x_values, y_values = zip(*plotted.points, strict=True)
            mark = "o" if len(x_values) == 1 else None
            (line,) = axes.plot(
                x_values, y_values, color=colour, linestyle=style, marker=mark, linewidth=1.6, label=name
            )
            line.set_gid(_group(k))
        if limits:
            axes.set_ylim(*limits)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if legend and len(series) > 1:
            if size == PANEL:  # no room in the chart
                axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7)
            else:
                axes.legend(loc="best")
        return _inline(figure, label, list(series.values()))


def bars(label: str, plotted: Plotted, end: float, x: str, y: str, *, title: str = "") -> Markup:
    """A histogram: each point is where a bin begins, and its height; `end` is where the last one ends."""
    starts, heights = zip(*plotted.points, strict=True)
    with matplotlib.rc_context(STYLE):
        figure, axes = _new(PANEL, title, x, y)
        axes.stairs(heights, [*starts, end], fill=True, color=SERIES[0], gid=_group(0))
        axes.xaxis.set_major_locator(MaxNLocator(3))
        return _inline(figure, label, [plotted])


def _group(k: int) -> str:
    """The id that the k-th thing that is plotted has until `_inline` puts its source in the place of it."""
    return f"plotted-{k}"


def _new(size: tuple[float, float], title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, loc="left")
    axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _inline(figure: Figure, label: str, series: Sequence[Plotted]) -> Markup:
    """The figure as an SVG element: no prolog, no metadata, the page's font, ids that no other chart has, sources named."""
    out = io.StringIO()
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index(">", text.index("<svg")) + 1 :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]+", "font-family: inherit", text)
    for k, plotted in enumerate(series):
        attributes, hint = plotted.origin()
        named = Markup("<g{}><title>{}</title>").format(attributes, hint)
        text = text.replace(f'<g id="{_group(k)}">', named)
    used, own = set(re.findall(r"#([\w.-]+)", text)), f"c{zlib.crc32(label.encode()):08x}-"
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{own}{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="|url\()#', rf"\1#{own}", text)
    for colour, variable in PAPER.items():
        text = text.replace(colour, f"var({variable})")
    width, height = figure.get_size_inches()
    opening = (
        f'<svg class="chart" viewBox="0 0 {72 * width:g} {72 * height:g}" width="{96 * width:.0f}" '
        f'height="{96 * height:.0f}" role="img" aria-label="{escape(label)}">'
    )
    return Markup(opening + re.sub(r"\s*\n\s*", "\n", text))
