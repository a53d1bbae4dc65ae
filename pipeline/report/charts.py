"""What the report draws: charts over epochs, thumbnails of images, and maps of patches over them.

Charts are inline SVG by matplotlib, which only knows fixed colours: those of `VARIABLES` stand for
variables of the style sheet, which follow light and dark themes.
"""

import base64
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from pipeline.report.values import Row, Series

INK = "#010203"
FAINT = "#040506"
COLOURS = tuple(f"#0a0b{k:02x}" for k in range(8))
VARIABLES = {INK: "--ink", FAINT: "--faint"} | {
    colour: f"--series-{k}" for k, colour in enumerate(COLOURS)
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, small, in the page's font
    "svg.hashsalt": "midas",  # for reproducible ids
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.edgecolor": FAINT,
    "axes.prop_cycle": cycler(linestyle=["-", "--", "-.", ":"]) * cycler(color=COLOURS),
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,  # a tick's label is its value
    "legend.frameon": False,
    "legend.fontsize": 8,
}
SMALL = (2.7, 1.9)  # inches
WIDE = (4.0, 2.3)  # still readable at the width of a phone
SIDE = 96  # pixels of a thumbnail's side on the page


def lines(
    label: str,
    series: Mapping[str, Series],
    y: str,
    *,
    title: str = "",
    limits: tuple[float, float] | None = None,
    legend: bool = True,
) -> Markup:
    """A line chart over epochs, small if it has a title; `label` is unique on the page."""
    drawn = {name: data for name, data in series.items() if data.points}
    if not drawn:
        return Markup("")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SMALL if title else WIDE, layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        axes.set(xlabel="epoch", ylabel=y, title=title)
        axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
        for k, (name, data) in enumerate(drawn.items()):
            (line,) = axes.plot(*zip(*data.points, strict=True), label=name, linewidth=1.6)
            line.set_marker("o" if len(data.points) == 1 else "None")
            line.set_gid(f"series-{k}")  # `_inline` replaces it by the source
        if limits:
            axes.set_ylim(*limits)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if legend and len(drawn) > 1:
            outside = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "fontsize": 7}
            axes.legend(**outside if title else {"loc": "best"})
        return _inline(figure, label, list(drawn.values()))


def _inline(figure: Figure, label: str, series: Sequence[Series]) -> Markup:
    """The figure as an SVG element without prolog and metadata, with the source of each series."""
    out = io.StringIO()
    figure.savefig(out, format="svg")
    text = re.sub(r"^.*?<svg[^>]*>", "", out.getvalue(), flags=re.DOTALL)
    unwanted = r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->"
    text = re.sub(unwanted, "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]+", "font-family: inherit", text)
    for k, data in enumerate(series):
        group = Markup("<g{}><title>{}</title>").format(data.attributes, data.tooltip)
        text = text.replace(f'<g id="series-{k}">', group)
    prefix = f"c{zlib.crc32(label.encode()):08x}-"  # makes ids unique; those without a use go
    used = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="|url\()#', rf"\1#{prefix}", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    width, height = figure.get_size_inches()
    opening = (
        f'<svg class="chart" viewBox="0 0 {72 * width:g} {72 * height:g}" '
        f'width="{96 * width:.0f}" height="{96 * height:.0f}" '
        f'role="img" aria-label="{escape(label)}">'
    )
    return Markup(opening + re.sub(r"\s*\n\s*", "\n", text))


def thumbnail(image: Tensor, alt: str) -> Markup:
    """A uint8 image [3, H, W] as an `img` element with sharp pixels."""
    element = Markup('<img class="pixels" src="{}" width="{}" height="{}" alt="{}">')
    return element.format(_data_uri(image), SIDE, SIDE, alt)


def patch_map(
    image: Tensor, patches: Sequence[Row], colours: Mapping[str, str], label: str, origin: Markup
) -> Markup:
    """A uint8 image [3, H, W] under rows of patches.csv, in the colours of their operations."""
    height = SIDE / (1 + max(int(patch["row"]) for patch in patches))
    width = SIDE / (1 + max(int(patch["column"]) for patch in patches))
    rect = Markup(
        '<rect x="{0:g}" y="{1:g}" width="{2:g}" height="{3:g}" fill="{4}" fill-opacity="0.55" '
        'stroke="{4}" stroke-width="1"><title>{5} {6:.3f}</title></rect>'
    )
    rects = []
    for patch in patches:
        op = patch["operation"]
        x = width * int(patch["column"])
        y = height * int(patch["row"])
        rects.append(rect.format(x, y, width, height, colours[op], op, float(patch["weight"])))
    return Markup(
        '<svg class="pixels" viewBox="0 0 {0} {0}" width="{0}" height="{0}" role="img" '
        'aria-label="{1}"{2}>'
        '<image href="{3}" width="{0}" height="{0}" preserveAspectRatio="none"/>{4}</svg>'
    ).format(SIDE, label, origin, _data_uri(image), Markup("").join(rects))


def _data_uri(image: Tensor) -> str:
    out = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
