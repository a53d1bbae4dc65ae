"""Files that version 0.1.0 wrote on 2026-11-24 are still read, and give the same results.

The folder schema_1/ is never written again.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch

import midas  # noqa: F401 - registers the models
from midas.deploy import predict
from midas.genotype import load_genotype
from midas.spaces import get_space
from midas.zoo.model_folder import open_model_folder

FOLDER = Path(__file__).with_name("schema_1")
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
IMAGES = torch.linspace(-2, 2, 2 * 3 * 16 * 16).view(2, 3, 16, 16)


@pytest.mark.parametrize("name", EXPECTED["hashes"])
def test_a_genotype_of_schema_1_is_read_and_its_hash_is_the_same(name: str) -> None:
    genotype = load_genotype(FOLDER / name)
    get_space(genotype.space).check(genotype)
    assert genotype.hash == EXPECTED["hashes"][name]
    assert genotype.to_json() == (FOLDER / name).read_text(encoding="utf-8")


def logits_of_timm() -> torch.Tensor:
    return timm.create_model(f"local-dir:{FOLDER / 'model'}", pretrained=True).eval()(IMAGES)


def logits_of_the_library() -> torch.Tensor:
    return open_model_folder(FOLDER / "model")[0](IMAGES)


def logits_of_the_onnx_file() -> torch.Tensor:
    session = onnxruntime.InferenceSession(
        FOLDER / "model/model.onnx", providers=["CPUExecutionProvider"]
    )
    return torch.from_numpy(np.asarray(session.run(["logits"], {"image": IMAGES.numpy()})[0]))


@pytest.mark.parametrize("logits", [logits_of_timm, logits_of_the_library, logits_of_the_onnx_file])
@torch.inference_mode()
def test_a_model_folder_of_schema_1_gives_the_logits_it_gave(logits) -> None:
    torch.testing.assert_close(logits(), torch.tensor(EXPECTED["logits"]), rtol=0, atol=1e-3)


def test_predict_reads_the_classes_of_a_model_of_schema_1() -> None:
    assert list(predict.load_model(FOLDER / "model/model.onnx").classes) == EXPECTED["classes"]
