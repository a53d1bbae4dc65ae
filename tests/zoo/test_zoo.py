"""The zoo's figures are those of its networks and of the papers, and found cells get names."""

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from test_model_folder import write

from midas.io.errors import MidasError
from midas.nets.build import count_macs, count_parameters
from midas.nets.network import AuxiliaryHead
from midas.zoo import model_folder, table
from midas.zoo.registry import MODELS, ZOO

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", MODELS)
def test_the_costs_are_those_of_the_registered_network(name: str) -> None:
    cell, skeleton = MODELS[name]
    costs = ZOO[cell]["skeletons"][skeleton]
    with torch.device("meta"):  # shapes without numbers
        model = timm.create_model(name)
    assert count_parameters(model) == costs["parameters"]
    assert count_macs(model, model.default_cfg["input_size"]) == costs["macs"]


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_the_published_ones_or_the_json_says_why_not(name: str) -> None:
    cell, skeleton = MODELS[name]
    costs = ZOO[cell]["skeletons"][skeleton]
    if "published" not in costs:
        pytest.skip("nothing is published for this cell in this skeleton")
    printed = costs["published"]["parameters_m"]
    places = len(printed.partition(".")[2])
    equal = f"{costs['parameters'] / 1e6:.{places}f}" == printed
    assert equal is ("differs" not in costs["published"])
    assert costs["published"]["where"]


def test_no_convention_of_counting_gives_darts_v1_the_printed_figure() -> None:
    costs = ZOO["darts_v1"]["skeletons"]["cifar"]
    with torch.device("meta"):
        model = timm.create_model("midas_darts_v1_cifar")
        head = AuxiliaryHead(model.auxiliary_channels, 10)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    learnt = sum(
        parameter.numel() for norm in norms for parameter in norm.parameters()
    )  # as many as are averaged
    plain = costs["parameters"]
    counts = (
        plain,
        plain - learnt,
        plain + learnt,
        plain + count_parameters(head),
        plain * 1e6 / 2**20,
    )
    printed = [f"{count / 1e6:.2f}" for count in counts]
    assert all(figure in costs["published"]["differs"] for figure in printed), "the JSON says each"
    assert costs["published"]["parameters_m"] not in {f"{count / 1e6:.1f}" for count in counts}


def test_the_documentation_shows_the_table() -> None:
    shown = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
    assert table.markdown() in shown, "midas zoo"


def test_the_list_is_printed_without_torch() -> None:
    script = (
        "import sys, midas_cli; sys.argv[1:] = ['zoo']\n"
        "try: midas_cli.main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "midas_darts_v2_cifar" in run.stdout
    assert "3,349,342" in run.stdout


def test_nothing_is_pushed_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    write(tmp_path / "bugs")
    with pytest.raises(MidasError, match="no Hugging Face token"):
        model_folder.push(tmp_path / "bugs", "someone/bugs")


def test_a_model_is_loaded_without_search_training_and_dvc(tmp_path: Path) -> None:
    write(tmp_path / "bugs")
    script = (
        "import sys\n"
        "import midas, timm, torch\n"
        "model = timm.create_model('local-dir:' + sys.argv[1], pretrained=True).eval()\n"
        "torch.save(model(torch.ones(1, 3, 16, 16)).detach(), sys.argv[2])\n"
        "rooms = ('midas.search', 'midas.train', 'midas.deploy', 'midas.analysis')\n"
        "unwanted = (*rooms, 'dvc', 'pipeline', 'typer', 'onnx')\n"
        "print([name for name in sys.modules if name.startswith(unwanted)])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "bugs"), str(tmp_path / "logits.pt")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"
    model = timm.create_model(f"local-dir:{tmp_path / 'bugs'}", pretrained=True).eval()
    assert torch.equal(torch.load(tmp_path / "logits.pt"), model(torch.ones(1, 3, 16, 16)).detach())
