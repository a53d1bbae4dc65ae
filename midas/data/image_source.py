"""The form that all sources share: labelled images, opened one by one, and the splits they name.

No pixel is decoded when a source is opened: splits, class sizes and disk space are checked first.
"""

import contextlib
import os
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from midas.data.config import MAX_PIXELS, MAX_SIZE, MIN_SIZE
from midas.data.listing import Skipped, Tree, clean_name
from midas.data.pictures import fit, to_rgb
from midas.data.prepared import Pixels
from midas.io.errors import DataError, listed, reason, shorten

Work = Callable[[int, Image.Image], None]  # processes the opened image at a position
_CHUNK = 64  # images that a thread takes at a time


@dataclass(frozen=True)
class ImageSource:
    """The images of a source.

    Attributes:
        where: the source in error messages, e.g. ``data.root: photos``.
        classes: the class names, in the order of the labels.
        labels: int64 [N].
        splits: image indices, int64: ``train``, and ``test`` and ``val`` if the source has them.
        open: opens image i, in any Pillow mode and size.
        name: the name of image i in error messages and reports.
        skipped: what was passed over.
        links: links out of the source's folder that were followed.
        max_pixels: largest image that is decoded.
    """

    where: str
    classes: tuple[str, ...]
    labels: Tensor
    splits: Mapping[str, Tensor]
    open: Callable[[int], Image.Image]
    name: Callable[[int], str]
    skipped: Skipped = field(default_factory=Skipped)
    links: Sequence[Path] = ()
    max_pixels: int = MAX_PIXELS

    @classmethod
    def from_splits(
        cls,
        where: str,
        classes: Sequence[str] | None,
        labels: Mapping[str, npt.ArrayLike],
        open_row: Callable[[str, int], Image.Image],
        name_row: Callable[[str, int], str],
        tree: Tree | None = None,
    ) -> "ImageSource":
        """Join splits, given the labels of each and how to open and name its image at a row.

        Without `classes`, they are numbered up to the largest label of ``train``. Without a
        ``test`` split, ``val`` is the test split. A label outside the classes is a DataError. The
        `tree` is the folder that was read, and knows what was passed over.
        """
        columns = {name: np.asarray(values, dtype=np.int64) for name, values in labels.items()}
        bounds = list(accumulate(map(len, columns.values()), initial=0))
        names = list(columns)
        if classes is None:
            classes = _number_classes(where, columns["train"])

        def locate(i: int) -> tuple[str, int]:
            part = bisect_right(bounds, i) - 1
            return names[part], i - bounds[part]

        joined = np.concatenate(list(columns.values()))
        outside = np.flatnonzero((joined < 0) | (joined >= len(classes)))
        if len(outside):
            image = name_row(*locate(int(outside[0])))
            problem = f"has the label {joined[outside[0]]}, outside 0...{len(classes) - 1}"
            raise DataError(f"{where}: {image} {problem} ({len(outside)} such labels)")
        splits = {name: torch.arange(bounds[k], bounds[k + 1]) for k, name in enumerate(names)}
        if "test" not in splits and "val" in splits:
            splits["test"] = splits.pop("val")
        return cls(
            where,
            tuple(map(clean_name, classes)),
            torch.from_numpy(joined),
            splits,
            lambda i: open_row(*locate(i)),
            lambda i: name_row(*locate(i)),
            Skipped() if tree is None else tree.skipped,
            () if tree is None else tree.links,
        )

    def without(self, images: Iterable[int]) -> "ImageSource":
        """Return the same source without these images in its splits; they count as unreadable."""
        removed = torch.tensor(list(images))
        splits = {name: index[~torch.isin(index, removed)] for name, index in self.splits.items()}
        skipped = self.skipped.copy()
        for label in self.labels[removed].tolist():
            skipped.add("unreadable images", self.classes[label])
        return replace(self, splits=splits, skipped=skipped)

    def common_size(self, indices: Tensor, max_unreadable: int = 0) -> int:
        """Return the side in pixels that all readable images share, or raise DataError."""
        examples: dict[tuple[int, int], int] = {}  # an image of each size

        def note_size(position: int, image: Image.Image) -> None:
            examples.setdefault(image.size, int(indices[position]))

        self._visit(indices, note_size, max_unreadable)
        side, height = next(iter(examples))
        if len(examples) > 1 or side != height:
            named = ", ".join(f"{self.name(i)} {w}x{h}" for (w, h), i in [*examples.items()][:2])
            problem = f"the images are not squares of one size ({named})"
            raise DataError(f"data.image_size: must be set, as {problem}")
        if not MIN_SIZE <= side <= MAX_SIZE:
            problem = f"the images are {side} pixels wide"
            raise DataError(f"data.image_size: must be set to {MIN_SIZE}...{MAX_SIZE}; {problem}")
        return side

    def decode(
        self, indices: Sequence[Tensor], pixels: Sequence[Pixels], max_unreadable: int = 0
    ) -> dict[int, str]:
        """Decode the images of several splits to RGB squares, uint8 [n, size, size, 3] each.

        Return why images cannot be read, by their index; their pixels stay as they were. More than
        `max_unreadable` such images are a DataError, which names the first few.
        """
        bounds = list(accumulate(map(len, pixels), initial=0))

        def decode_one(position: int, image: Image.Image) -> None:
            part = bisect_right(bounds, position) - 1
            square = fit(to_rgb(image), pixels[part].shape[1])
            pixels[part][position - bounds[part]] = np.asarray(square)

        return self._visit(torch.cat(list(indices)), decode_one, max_unreadable)

    def _visit(self, indices: Tensor, work: Work, max_unreadable: int) -> dict[int, str]:
        """Run `work` on every image; result and errors are those of `decode`."""

        def visit(start: int) -> list[tuple[int, str | None]]:
            chunk = enumerate(indices[start : start + _CHUNK].tolist(), start)
            return [(index, self._attempt(position, index, work)) for position, index in chunk]

        starts = range(0, len(indices), _CHUNK)
        # threads help, because Pillow decodes without the interpreter lock
        with _pixel_limit(self.max_pixels), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            reasons = {i: why for chunk in pool.map(visit, starts) for i, why in chunk if why}
        if len(reasons) > max_unreadable or len(reasons) == len(indices):
            named = (f"{shorten(self.name(i), 40)} ({why})" for i, why in reasons.items())
            problem = (
                f"{len(reasons)} of {len(indices)} images cannot be read: {listed(named, 140)}"
            )
            advice = f"repair or remove them, or raise data.max_unreadable ({max_unreadable})"
            raise DataError(f"{self.where}: {problem}; {advice}")
        return reasons

    def _attempt(self, position: int, index: int, work: Work) -> str | None:
        """Open one image and run `work` on it; return why that failed, or None."""
        try:
            with self.open(index) as image:
                work(position, image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return f"more than data.max_pixels, {self.max_pixels:,}"
        except Exception as error:  # decoders raise nearly anything on broken bytes
            return reason(error)
        return None


@contextlib.contextmanager
def _pixel_limit(most: int) -> Iterator[None]:
    """Make Pillow refuse images of more pixels, and keep quiet about odd metadata."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = most
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _number_classes(where: str, labels: npt.NDArray[np.int64]) -> list[str]:
    largest = int(labels.max(initial=-1))
    if largest >= len(labels):
        problem = f"its largest label is {largest}, and it has {len(labels)} images"
        raise DataError(f"{where}: {problem}; name the classes, or number them from 0")
    return [str(label) for label in range(largest + 1)]
