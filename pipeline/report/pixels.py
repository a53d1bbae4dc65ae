"""Images of the data set as thumbnails, and maps of patches over them."""

import base64
import io
from collections.abc import Mapping, Sequence

from markupsafe import Markup
from PIL import Image
from torch import Tensor

from pipeline.report.values import Row

SIDE = 96  # pixels of a thumbnail's side on the page


def thumbnail(image: Tensor, alt: str) -> Markup:
    """A uint8 image [3, H, W] as an `img` element with sharp pixels."""
    element = Markup('<img class="pixels" src="{}" width="{}" height="{}" alt="{}">')
    return element.format(_data_uri(image), SIDE, SIDE, alt)


def patch_map(
    image: Tensor, patches: Sequence[Row], colours: Mapping[str, str], label: str, origin: Markup
) -> Markup:
    """A uint8 image [3, H, W] below patches in the colours of their strongest operations.

    `patches` are the rows of patches.csv for this image and an edge, and `origin` names them.
    """
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
