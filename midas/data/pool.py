"""What every source comes down to: labelled images that can be opened one by one, and the splits it names itself.

A source is opened before any pixel is decoded, so that splits, class counts and memory are settled first.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from midas.data.config import MAX_SIZE, MIN_SIZE
from midas.data.pictures import fit, to_rgb
from midas.runs.errors import DataError

Work = Callable[[int, Image.Image], None]  # done to the image at a position
_CHUNK = 64  # images a thread takes at a time
_NAMED = 5  # broken images that an error names


@dataclass(frozen=True)
class Pool:
    """All images of a source.

    Attributes:
        where: what error messages call the source, e.g. ``data.root: photos``.
        classes: the class names, in the order of the labels.
        labels: int64 [N].
        splits: indices into the pool: ``train``, and ``test`` and ``val`` where the source has them.
        open: opens image i; any Pillow mode, any size.
        name: what error messages call image i.
    """

    where: str
    classes: tuple[str, ...]
    labels: Tensor
    splits: Mapping[str, Tensor]
    open: Callable[[int], Image.Image]
    name: Callable[[int], str]

    def own_size(self, indices: Tensor) -> int:
        """The side that all these images have in common, in pixels.

        Raises:
            DataError: they are not squares of one size within the bounds of `data.size`, or some cannot be read.
        """
        sizes = np.zeros((len(indices), 2), dtype=np.int64)

        def note(position: int, image: Image.Image) -> None:
            sizes[position] = image.size

        self._visit(indices, note)
        width, height = sizes[0].tolist()
        others = np.flatnonzero((sizes != (width, width)).any(axis=1))
        if len(others):
            wide, high = sizes[others[0]].tolist()
            name = self.name(int(indices[others[0]]))
            first = f"{self.name(int(indices[0]))} {width}x{height}"
            raise DataError(
                f"data.size: must be set, as the images are not squares of one size ({first}, {name} {wide}x{high})"
            )
        if not MIN_SIZE <= width <= MAX_SIZE:
            raise DataError(f"data.size: must be set to {MIN_SIZE}...{MAX_SIZE}: the images' own side is {width}")
        return int(width)

    def gather(self, indices: Tensor, size: int) -> Tensor:
        """Decode images to RGB squares.

        Args:
            indices: int64 [n].
            size: the side in pixels.

        Returns:
            uint8 [n, size, size, 3].

        Raises:
            DataError: some cannot be read; all are tried, and the first few are named.
        """
        pixels = np.empty((len(indices), size, size, 3), dtype=np.uint8)

        def decode(position: int, image: Image.Image) -> None:
            pixels[position] = np.asarray(fit(to_rgb(image), size))

        self._visit(indices, decode)
        return torch.from_numpy(pixels)

    def _visit(self, indices: Tensor, work: Work) -> None:
        """Do `work(position, image)` for every index in a few threads (Pillow decodes outside the interpreter lock)."""

        def visit(chunk: range) -> list[str]:
            return [fault for position in chunk if (fault := self._attempt(position, int(indices[position]), work))]

        chunks = [range(start, min(start + _CHUNK, len(indices))) for start in range(0, len(indices), _CHUNK)]
        with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            warnings.simplefilter("ignore")  # remarks about odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            faults = [fault for chunk in threads.map(visit, chunks) for fault in chunk]
        if faults:
            named = ", ".join(faults[:_NAMED]) + (", ..." if len(faults) > _NAMED else "")
            raise DataError(
                f"{self.where}: {len(faults)} of {len(indices)} images cannot be read: {named}; repair or remove them"
            )

    def _attempt(self, position: int, index: int, work: Work) -> str | None:
        """Open one image and work on it; the answer is what is wrong with it, if anything."""
        try:
            with self.open(index) as image:
                work(position, image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return f"{self.name(index)} (more than {Image.MAX_IMAGE_PIXELS} pixels, a decompression bomb)"
        except UnidentifiedImageError:
            return f"{self.name(index)} (not an image)"
        except Exception as error:  # decoders raise nearly anything on broken bytes
            return f"{self.name(index)} ({' '.join(str(error).split()) or type(error).__name__})"
        return None
