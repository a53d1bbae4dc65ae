"""Building: cells, networks, what they cost, their names in timm. Importing this room registers the models."""

from midas.nets import registry

__all__ = ["registry"]
