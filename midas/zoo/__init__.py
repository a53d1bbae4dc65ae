"""Models with a name. Importing this room registers them with timm."""

from midas.zoo import registry as registry
