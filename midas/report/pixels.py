"""Images of the data set as small PNG data URIs, and patch maps over them as SVG."""

import base64
import io
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape
from PIL import Image
from torch import Tensor

SIDE = 96  # pixels of a thumbnail's side on the page


def data_uri(image: Tensor) -> str:
    """A uint8 image [3, H, W] as the address of a PNG that stands in the page itself."""
    out = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def thumbnail(image: Tensor, alt: str) -> Markup:
    """An image [3, H, W] as an `img` element; pixels stay pixels."""
    return Markup('<img class="pixels" src="{}" width="{}" height="{}" alt="{}">').format(
        data_uri(image), SIDE, SIDE, alt
    )


def patch_map(
    image: Tensor, cells: Sequence[Mapping[str, str]], colours: Mapping[str, str], label: str, origin: Markup
) -> Markup:
    """An image [3, H, W] below a grid whose patches have the colour of the operation they ask for.

    Args:
        image: uint8, as the search saw it.
        cells: rows of patches.csv of this image and one edge.
        colours: a CSS colour for each operation.
        label: what it shows, for those who cannot see it.
        origin: attributes that name the file and the rows.
    """
    high, wide = (max(int(cell[axis]) for cell in cells) + 1 for axis in ("row", "column"))
    parts = []
    for cell in cells:
        x, y = SIDE * int(cell["column"]) / wide, SIDE * int(cell["row"]) / high
        hint = f"{cell['operation']} {float(cell['weight']):.3f}"
        parts.append(
            Markup(
                '<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" fill="{}" fill-opacity="0.55" stroke="{}" '
                'stroke-width="1"><title>{}</title></rect>'
            ).format(x, y, SIDE / wide, SIDE / high, colours[cell["operation"]], colours[cell["operation"]], hint)
        )
    return Markup(
        '<svg class="pixels" viewBox="0 0 {0} {0}" width="{0}" height="{0}" role="img" aria-label="{1}"{4}>'
        '<image href="{2}" width="{0}" height="{0}" preserveAspectRatio="none"/>{3}</svg>'
    ).format(SIDE, escape(label), data_uri(image), Markup("").join(parts), origin)
