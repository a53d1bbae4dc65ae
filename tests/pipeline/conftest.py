"""A clone in which the whole pipeline ran on a folder of images."""

from pathlib import Path

import pytest
from clones import IDENTITY, draw_images, edit, make_clone, run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with `midas init folder`, the two lines edited, and sizes made small for a test;
    after `dvc repro`, committed.
    """
    clone = make_clone(tmp_path_factory.mktemp("a clone — Größe"))
    images = draw_images(tmp_path_factory.mktemp("my images — 大小"))
    run(clone, "midas", "init", "folder")
    edit(clone / "params.yaml", root=str(images), image_size="16")
    edit(clone / "params.yaml", epochs="2", channels="4", cells="3", start_size="null")
    edit(clone / "params.yaml", seeds="[0]", training_seeds="[0, 1]")
    run(clone, "git", *IDENTITY, "commit", "-qam", "my images")
    run(clone, "dvc", "repro")
    run(clone, "git", "add", "-A")
    run(clone, "git", *IDENTITY, "commit", "-qm", "found")
    return clone
