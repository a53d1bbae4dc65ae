"""The `data` section of the parameters: which images, at which size, split how."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SourceName = Literal["digits", "cifar10", "cifar100", "npz", "folder", "webdataset", "huggingface"]
MIN_SIZE, MAX_SIZE = 4, 1024
MAX_BYTES = 8 * 2**30  # of the arrays of an .npz


class DataConfig(BaseModel):
    """Where the images come from and how they are prepared.

    Attributes:
        source: ``digits`` (in scikit-learn), ``cifar10`` and ``cifar100`` (torchvision), ``npz`` (arrays), ``folder``,
            ``webdataset`` (a folder of shards), ``huggingface`` (a data set of the hub, on the disk).
        root: the folder (or the .npz file) that holds the source; not read for ``digits``.
        download: let torchvision fetch CIFAR into `root` where it is missing.
        image_size: the side of the prepared square images, in pixels; None keeps the images' own size.
        test_fraction: the part held out as test split where the source has none of its own.
        val_fraction: the part of the rest held out as validation split where the source has none of its own.
        split_seed: the seed of every split.
        max_unreadable: how many images that cannot be read are left out; with more, nothing is prepared.
        max_images: keep at most this many training images (stratified), for quick runs; None keeps all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: SourceName = "digits"
    root: str = "data"
    download: bool = False
    image_size: int | None = Field(default=None, ge=MIN_SIZE, le=MAX_SIZE)
    test_fraction: float = Field(default=0.2, ge=0.05, le=0.5)
    val_fraction: float = Field(default=0.1, gt=0.0, le=0.5)
    split_seed: int = 0
    max_unreadable: int = Field(default=0, ge=0)
    max_images: int | None = Field(default=None, ge=2)
