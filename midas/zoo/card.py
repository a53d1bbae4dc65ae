"""The model card: README.md of a model folder, for a reader who has only the folder."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from midas.data.prepared import DataMeta
from midas.genotype import Genotype
from midas.io import files
from midas.io.errors import printable
from midas.nets.build import count_macs, count_parameters

SHOWN_CLASSES = 20
_PROVENANCE = "## Where it comes from\n```json\n"
_IMPORT = "import midas  # from the package midas-nas; registers the models\n"
_TEMPLATE = """\
---
library_name: timm
tags: [image-classification, timm, neural-architecture-search]
---
# {name}

An image classifier made by the MIDAS pipeline. {about}
The network was trained {start}.

| | |
|---|---|
| classes | {count}: {classes} |
| input | {meta.size} x {meta.size} RGB: shorter side scaled (bilinear), centre crop |
| normalisation | mean ({mean}), standard deviation ({std}) |
| parameters | {parameters:,} |
| multiply-adds | {macs:,} per image (convolutions and linear layers) |
| validation accuracy | {accuracy:.4f} in its best epoch, {epoch} of {epochs} |
| network | {network} |

## Data
`{meta.source}`: {images}. Fingerprint {meta.fingerprint}.

## Use it in timm
```python
{imports}import timm

model = timm.create_model("local-dir:models/{name}", pretrained=True).eval()
config = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**config, is_training=False)
```

## Use it without PyTorch
```console
pip install onnxruntime numpy Pillow
python predict.py image.png
```

`model.onnx` takes `image` and returns `logits` or `probabilities` of shape N x {count}. By default
the images are float32, N x 3 x {meta.size} x {meta.size}, normalised as above; a file may take
pixels instead, or with `input: image` the photograph itself. Where it takes floats, the client
decodes the image, scales the shorter side with a bilinear filter that averages when it shrinks,
crops the centre, divides by 255 and normalises. Its metadata say which (`midas_input`) and name the
classes (`midas_classes`).

"""


def model_card(
    name: str,
    model: nn.Module,
    genotype: Genotype | None,
    meta: DataMeta,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    """The card's Markdown, from a training's `metrics` and JSON of the `provenance`."""
    more = ", ..." if len(meta.classes) > SHOWN_CLASSES else ""
    training = provenance.get("training", {})
    start = "from scratch"
    if genotype is None:
        about = f"It is timm's model `{training['model']}`."
        network = f"timm, `{training['model']}`"
    else:
        about = (
            f"Its cells are of the space `{genotype.space}`; the\nlast section says how they were "
            "found."
        )
        network = f"`genotype.json`, SHA-256 {genotype.hash}"
    if training.get("weights") is not None:
        weights = Path(training["weights"]).name  # a card holds no path of this machine
        provenance = {**provenance, "training": {**training, "weights": weights}}
        start = f"further, starting from the weights in `{_cell(weights)}`"
    if training.get("teacher") is not None:
        start += f" and from the answers of the model `{_cell(training['teacher'])}`"
    card = _TEMPLATE.format(
        name=name,
        start=start,
        about=about,
        network=network,
        imports=_IMPORT if genotype else "",
        meta=meta,
        accuracy=metrics["best_val_accuracy"],
        epoch=metrics["best_epoch"],
        epochs=metrics["epochs"],
        count=len(meta.classes),
        classes=_cell(", ".join(meta.classes[:SHOWN_CLASSES]) + more),
        mean=", ".join(f"{value:.4f}" for value in meta.mean),
        std=", ".join(f"{value:.4f}" for value in meta.std),
        parameters=count_parameters(model),
        macs=count_macs(model, (3, meta.size, meta.size)),
        images=", ".join(f"{count:,} {split} images" for split, count in meta.counts.items()),
    )
    return f"{card}{_PROVENANCE}{files.dump_json(dict(provenance))}```\n"


def _cell(text: str) -> str:
    """Text escaped for a cell of a Markdown table, where it makes no HTML and no second row."""
    return re.sub(r"[|`\[]", r"\\\g<0>", html.escape(printable(text), quote=False))
