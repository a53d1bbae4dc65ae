"""Parameters of the data stage and of the augmentation; docs/parameters.md explains each key."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SourceName = Literal["digits", "cifar10", "cifar100", "npz", "folder", "webdataset", "huggingface"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MIN_SIZE = 4  # of `image_size`, in pixels
MAX_SIZE = 1024
MAX_PIXELS = 89_478_485  # of an image; what Pillow allows by itself
MAX_BYTES = 8 * 2**30  # largest unpacked size of an .npz file


class DataConfig(BaseModel):
    """The `data` section of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: SourceName = "digits"
    root: str = "data"  # the folder or .npz file that holds the source
    download: bool = False  # of CIFAR, if it is missing in `root`
    image_size: int | None = Field(default=None, ge=MIN_SIZE, le=MAX_SIZE)  # None keeps the size
    test_fraction: float = Field(default=0.2, ge=0.05, le=0.5)  # if the source has no test split
    val_fraction: float = Field(default=0.1, gt=0.0, le=0.5)  # of the rest, likewise
    split_seed: int = 0
    max_unreadable: int = Field(default=0, ge=0)  # images to leave out; more are an error
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=2**34)  # largest image that is decoded
    max_images: int | None = Field(default=None, ge=2)  # training images to keep; None keeps all


class AugmentConfig(BaseModel):
    """The augmentation of training images; by default there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pad: int = Field(default=0, ge=0, le=128)  # pixels on each side, before a random crop
    reflect: bool = False  # the padding mirrors the image, and is not black
    flip: bool = False  # left and right, with probability 1/2
    cutout: int = Field(default=0, ge=0, le=1024)  # side of a square of zeros, in pixels
    crop_scale: float | None = Field(default=None, gt=0, le=1)  # smallest area; ImageNet: 0.08
    # strengths of brightness, contrast, saturation and hue; ImageNet: [0.4, 0.4, 0.4, 0.2]
    color_jitter: tuple[float, float, float] | tuple[float, float, float, float] | None = None
    rand_augment: str | None = Field(default=None, pattern="^rand-")  # e.g. rand-m9-mstd0.5

    @model_validator(mode="after")
    def _check_crops(self) -> Self:
        if self.crop_scale is not None and self.pad:
            raise ValueError("crop_scale and pad are two ways to crop; set one of them")
        return self

    @property
    def per_image(self) -> bool:
        """Whether any transform must run on each image separately."""
        transforms = (self.crop_scale, self.color_jitter, self.rand_augment)
        return any(transform is not None for transform in transforms)
