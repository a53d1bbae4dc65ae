"""What every source comes down to: labelled images that can be opened one by one, and the splits it names itself.

A source is opened before any pixel is decoded, so that splits, class counts and memory are settled first.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from midas.data.config import MAX_SIZE, MIN_SIZE
from midas.data.pictures import fit, to_rgb
from midas.runs.errors import DataError

Store = Callable[[int, npt.NDArray[np.uint8]], None]
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
        passed_over: by suffix, how many files lay among the images and were none by it.
    """

    where: str
    classes: tuple[str, ...]
    labels: Tensor
    splits: Mapping[str, Tensor]
    open: Callable[[int], Image.Image]
    name: Callable[[int], str]
    passed_over: Mapping[str, int] = field(default_factory=dict)

    def without(self, images: Iterable[int]) -> "Pool":
        """The same pool, these images in none of its splits."""
        left_out = torch.tensor(list(images))
        return replace(self, splits={name: i[~torch.isin(i, left_out)] for name, i in self.splits.items()})

    def own_size(self, indices: Tensor, unreadable: int = 0) -> int:
        """The side that all these images have in common, in pixels; up to `unreadable` may be images that cannot be opened.

        Raises:
            DataError: they are not squares of one size within the bounds of `data.image_size`, or more cannot be opened.
        """
        sizes = np.zeros((len(indices), 2), dtype=np.int64)

        def note(position: int, image: Image.Image) -> None:
            sizes[position] = image.size

        opened = np.setdiff1d(np.arange(len(indices)), list(self._visit(indices, note, unreadable)))
        width = int(sizes[opened[0], 0])
        others = opened[(sizes[opened] != (width, width)).any(axis=1)]
        if len(others):
            seen = dict.fromkeys([opened[0], others[0]])  # the first may itself be no square
            named = (f"{self.name(int(indices[k]))} {'x'.join(map(str, sizes[k]))}" for k in seen)
            raise DataError(
                f"data.image_size: must be set, as the images are not squares of one size ({', '.join(named)})"
            )
        if not MIN_SIZE <= width <= MAX_SIZE:
            raise DataError(f"data.image_size: must be set to {MIN_SIZE}...{MAX_SIZE}: the images' own side is {width}")
        return int(width)

    def gather(self, indices: Tensor, size: int, store: Store, unreadable: int = 0) -> dict[int, str]:
        """Decode images to RGB squares.

        Args:
            indices: int64 [n].
            size: the side in pixels.
            store: is given each image's position in `indices` and its pixels, uint8 [size, size, 3], in no order, by several
                threads.
            unreadable: how many may be images that cannot be read.

        Returns:
            By their position those that cannot be read, with the reason; they are not stored.

        Raises:
            DataError: more cannot be read; all are tried, and the first few are named.
        """

        def decode(position: int, image: Image.Image) -> None:
            store(position, np.asarray(fit(to_rgb(image), size)))

        return self._visit(indices, decode, unreadable)

    def _visit(self, indices: Tensor, work: Work, unreadable: int) -> dict[int, str]:
        """Do `work(position, image)` for every index in a few threads (Pillow decodes outside the interpreter lock).

        Returns the positions where that failed, with the reason; raises DataError for more than `unreadable`, or for all.
        """

        def visit(chunk: range) -> list[tuple[int, str]]:
            tried = [(position, self._attempt(position, int(indices[position]), work)) for position in chunk]
            return [(position, fault) for position, fault in tried if fault is not None]

        chunks = [range(start, min(start + _CHUNK, len(indices))) for start in range(0, len(indices), _CHUNK)]
        with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            warnings.simplefilter("ignore")  # remarks about odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            faults = dict(fault for chunk in threads.map(visit, chunks) for fault in chunk)
        if len(faults) > unreadable or len(faults) == len(indices):
            first = [f"{self.name(int(indices[k]))} ({fault})" for k, fault in list(faults.items())[:_NAMED]]
            named = ", ".join(first) + (", ..." if len(faults) > _NAMED else "")
            raise DataError(
                f"{self.where}: {len(faults)} of {len(indices)} images cannot be read: {named}; repair or remove them, or "
                f"let data.max_unreadable ({unreadable}) leave them out"
            )
        return faults

    def _attempt(self, position: int, index: int, work: Work) -> str | None:
        """Open one image and work on it; the answer is what is wrong with it, if anything."""
        try:
            with self.open(index) as image:
                work(position, image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return f"more than {Image.MAX_IMAGE_PIXELS} pixels, a decompression bomb"
        except UnidentifiedImageError:
            return "not an image"
        except Exception as error:  # decoders raise nearly anything on broken bytes
            return " ".join(str(error).split()) or type(error).__name__
        return None
