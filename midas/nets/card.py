"""The model card: README.md of a model folder, for the person who receives nothing but the folder."""

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midas.data.prepared import DataMeta
from midas.genotype import Genotype
from midas.nets.complexity import count_macs, count_parameters
from midas.nets.network import MidasNet
from midas.runs import files
from midas.runs.errors import ModelFolderError, printable

SHOWN_CLASSES = 20

_TEMPLATE = """\
---
library_name: timm
tags: [image-classification, timm, neural-architecture-search]
---
# {name}

An image classifier made by the MIDAS pipeline: its cells are of the search space `{space}`, found as the last section
says, and the network was trained {start}.

| | |
|---|---|
| classes | {count}: {classes} |
| input | {size} x {size} RGB, shorter side scaled to {size} (bilinear), centre crop, mean {mean}, deviation {std} |
| parameters | {parameters:,} |
| multiply-adds | {macs:,} an image (convolutions and linear layers) |
| validation accuracy | {accuracy:.4f} in epoch {epoch} of {epochs}, which was chosen by it |
| genotype | `genotype.json`, SHA-256 {genotype} |

## Data
`{source}`: {images}. Fingerprint {fingerprint}.

## Use it in timm
```python
import midas  # of the package midas-nas; registers the models
import timm

model = timm.create_model("local-dir:models/{name}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
```

## Use it without PyTorch
```console
pip install onnxruntime numpy Pillow
python predict.py picture.png
```

`model.onnx` takes `image` and gives `logits` or `probabilities`, N x {count}. Whether images go in as pixels or as float32
normalised as above (N x 3 x {size} x {size}, the default) stands in its metadata under `midas_input`, the class names under
`midas_classes`.

## Where it comes from
```json
{provenance}```
"""


def model_card(
    name: str,
    model: MidasNet,
    genotype: Genotype,
    meta: DataMeta,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    """The card's Markdown; equal inputs give equal text.

    Args:
        name: the model folder's name.
        model: the trained network.
        genotype: its cells.
        meta: the data it was trained on.
        metrics: the training's metrics: best_val_accuracy, best_epoch, epochs.
        provenance: printed as it is, e.g. hashes, seeds, versions; of the file to start from the name alone.
    """
    shown = ", ".join(meta.classes[:SHOWN_CLASSES]) + (", ..." if len(meta.classes) > SHOWN_CLASSES else "")
    training = dict(provenance.get("training", {}))
    if (start := training.get("start_from")) is not None:
        training["start_from"] = Path(start).name  # a card travels: no path of this machine is in it
        provenance = {**provenance, "training": training}
    return _TEMPLATE.format(
        start="from scratch" if start is None else f"on from the weights in `{_cell(Path(start).name)}`",
        name=name,
        space=genotype.space,
        count=len(meta.classes),
        classes=_cell(shown),
        size=meta.size,
        mean=_numbers(meta.mean),
        std=_numbers(meta.std),
        parameters=count_parameters(model),
        macs=count_macs(model, (3, meta.size, meta.size)),
        accuracy=metrics["best_val_accuracy"],
        epoch=metrics["best_epoch"],
        epochs=metrics["epochs"],
        genotype=genotype.hash,
        source=meta.source,
        images=", ".join(f"{count:,} {split} images" for split, count in meta.counts.items()),
        fingerprint=meta.fingerprint,
        provenance=files.dump_json(dict(provenance)),
    )


def read_provenance(path: Path) -> Any:
    """What a card says in its last section, or nothing where it has none.

    Raises:
        ModelFolderError: there is no card, or that section is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _, found, rest = text.partition("## Where it comes from\n```json\n")
        return json.loads(rest.rpartition("```")[0]) if found else {}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelFolderError(f"{path}: its provenance cannot be read ({error}); run the build stage again") from error


def _cell(text: str) -> str:
    """Text as a cell of a Markdown table: a class's name may be anything, and is neither HTML nor another row."""
    return html.escape(printable(text), quote=False).replace("|", "\\|").replace("`", "\\`").replace("[", "\\[")


def _numbers(values: tuple[float, ...]) -> str:
    """Three numbers to four places."""
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"
