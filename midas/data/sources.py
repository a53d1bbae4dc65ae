"""The sources by name."""

from pathlib import Path

from midas.data import arrays
from midas.data.config import DataConfig
from midas.data.folder import folder
from midas.data.huggingface import huggingface
from midas.data.pool import Pool
from midas.data.shards import shards


def open_source(config: DataConfig) -> Pool:
    """List a source's images and labels; folders are not decoded yet.

    Raises:
        DataError: the source is missing or contradicts itself.
    """
    if config.source == "digits":
        return arrays.digits()
    if config.source == "npz":
        return arrays.npz(Path(config.root))
    if config.source == "webdataset":
        return shards(Path(config.root))
    if config.source == "huggingface":
        return huggingface(Path(config.root))
    return folder(Path(config.root)) if config.source == "folder" else arrays.cifar(config)
