"""Open a source by its name."""

from pathlib import Path

from midas.data.arrays import cifar, digits, npz
from midas.data.config import DataConfig
from midas.data.huggingface import huggingface
from midas.data.image_folder import folder
from midas.data.image_source import ImageSource
from midas.data.shards import shards

# the sources that are read from `data.root` alone
READERS = {
    "npz": npz,
    "folder": folder,
    "webdataset": shards,
    "huggingface": huggingface,
}


def open_source(config: DataConfig) -> ImageSource:
    """List a source's images; raise DataError if the source is missing or contradicts itself."""
    if config.source == "digits":
        return digits()
    if config.source in READERS:
        return READERS[config.source](Path(config.root))
    return cifar(config)
