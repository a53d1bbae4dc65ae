"""One small model folder, exported once, for all tests of this room."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with its verified ONNX file; read only."""
    from model_folders import META, split_of, write_model_folder

    from midas.deploy.export import ExportConfig
    from midas.deploy.export_folder import ship

    folder = write_model_folder(tmp_path_factory.mktemp("models") / "small")
    ship(folder, ExportConfig(), split_of(40, seed=1), META, "1.2.3")
    return folder
