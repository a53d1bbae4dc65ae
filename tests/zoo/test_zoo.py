"""The zoo's figures are those of its networks and of the papers, and found cells get names."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from test_model_folder import write

import midas_cli
from midas.io.errors import MidasError, ModelFolderError, ParamsError
from midas.nets.build import count_macs, count_parameters
from midas.nets.network import AuxiliaryHead
from midas.zoo import publish, table
from midas.zoo.card import read_provenance
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


def test_the_text_of_the_zoo_is_its_canonical_form() -> None:
    assert table.dump(table.read()) == table.PATH.read_text(encoding="utf-8")


def test_the_documentation_shows_the_table() -> None:
    shown = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
    assert table.markdown() in shown, "midas zoo --markdown"


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


@pytest.fixture
def zoo_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of midas/zoo.json that a test may change."""
    path = tmp_path / "zoo.json"
    path.write_bytes(table.PATH.read_bytes())
    monkeypatch.setattr(table, "PATH", path)
    return path


def test_a_found_cell_gets_a_name_with_its_costs_and_where_it_came_from(
    tmp_path: Path, zoo_json: Path
) -> None:
    write(tmp_path / "My Bugs")
    assert publish.add(tmp_path / "My Bugs") == ["midas_my_bugs_cifar"]
    entry = json.loads(zoo_json.read_text())["my_bugs"]
    model = timm.create_model(f"local-dir:{tmp_path / 'My Bugs'}", pretrained=True)
    assert entry["skeletons"]["cifar"]["parameters"] == count_parameters(model)
    assert entry["skeletons"]["cifar"]["cfg"]["input_size"] == [3, 16, 16]
    assert entry["origin"] == "models/My Bugs"
    assert entry["provenance"] == read_provenance(tmp_path / "My Bugs" / "README.md") != {}
    assert str(tmp_path) not in zoo_json.read_text()
    again = publish.add(tmp_path / "My Bugs")
    assert again == ["midas_my_bugs_cifar"], "the same folder again is an update"


@pytest.mark.slow
def test_a_new_process_knows_the_new_name(tmp_path: Path) -> None:
    """In a copy of the package, because the zoo is read at import."""
    write(tmp_path / "bugs")
    shutil.copytree(
        ROOT / "midas", tmp_path / "copy" / "midas", ignore=shutil.ignore_patterns("__pycache__")
    )
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import timm\n"
        "from midas.zoo.publish import add\n"
        "print(*add(Path(sys.argv[1]))) if len(sys.argv) > 1 else None\n"
        "print(timm.is_model('midas_bugs_cifar'))"
    )
    copy = tmp_path / "copy"
    (copy / "dvc.yaml").touch()
    environment = {"PYTHONPATH": str(copy), "PATH": "", "HF_HUB_OFFLINE": "1"}
    outputs = []
    for arguments in ([str(tmp_path / "bugs")], []):
        command = [sys.executable, "-c", script, *arguments]
        run = subprocess.run(
            command, cwd=copy, capture_output=True, text=True, check=True, env=environment
        )
        outputs.append(run.stdout.split())
    assert outputs == [["midas_bugs_cifar", "False"], ["True"]]


@pytest.mark.parametrize(
    ("name", "words"),
    [("darts_v2", "the name of another cell, from"), ("Über", "not a valid name")],
)
def test_a_name_that_is_taken_or_not_valid_is_refused(
    tmp_path: Path, zoo_json: Path, name: str, words: str
) -> None:
    write(tmp_path / "bugs")
    before = zoo_json.read_bytes()
    with pytest.raises(ParamsError, match=words):
        publish.add(tmp_path / "bugs", name)
    assert zoo_json.read_bytes() == before


def test_another_cell_does_not_take_a_name_through_a_folder_of_the_same_name(
    tmp_path: Path, zoo_json: Path
) -> None:
    write(tmp_path / "bugs")
    publish.add(tmp_path / "bugs")
    cells = json.loads(zoo_json.read_text())
    cells["bugs"]["genotype"]["cells"]["normal"]["edges"][0][0] = "skip_connect"
    zoo_json.write_text(table.dump(cells))
    with pytest.raises(ParamsError, match="already the name of another cell"):
        publish.add(tmp_path / "bugs")


@pytest.mark.parametrize(
    ("provenance", "what", "paper"),
    [
        (
            {"kept_seed": 1, "parameters": {"search": {"method": "gdas"}}},
            "pipeline, method gdas",
            "arXiv 1910.04465",
        ),
        (  # as older model folders have it
            {"kept_seed": 1, "parameters": {"search": {"arm": "drnas"}}},
            "pipeline, method drnas",
            "arXiv 2006.10355",
        ),
        (
            {"kept_seed": None, "parameters": {"search": {"genotype": "cell.json"}}},
            "not searched here",
            "",
        ),
    ],
)
def test_the_entry_names_the_method_that_found_the_cell(
    provenance: dict,
    what: str,
    paper: str,
    tmp_path: Path,
    zoo_json: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(tmp_path / "bugs")
    monkeypatch.setattr(publish, "read_provenance", lambda _: provenance)
    publish.add(tmp_path / "bugs")
    entry = json.loads(zoo_json.read_text())["bugs"]
    assert what in entry["what"]
    assert entry["paper"] == paper


def test_an_accuracy_is_that_of_the_model_it_was_measured_on(
    tmp_path: Path, zoo_json: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tested = tmp_path / "artifacts/evaluate/bugs"
    tested.mkdir(parents=True)
    (tmp_path / "dvc.yaml").touch()
    write(tmp_path / "bugs")
    (tmp_path / "bugs/model.onnx").write_bytes(b"this model")
    (tested / "details.json").write_text('{"images": 8, "accuracy_torch": 0.25}')
    for content, is_shown in ((b"another model", False), (b"this model", True)):
        mistakes = {"images": [], "sha256": hashlib.sha256(content).hexdigest()}
        (tested / "mistakes.json").write_text(json.dumps(mistakes))
        midas_cli.add(tmp_path / "bugs", None)
        assert ("25.00% (8 test images)" in table.markdown()) is is_shown


def test_a_broken_folder_gets_no_name(tmp_path: Path, zoo_json: Path) -> None:
    write(tmp_path / "bugs")
    (tmp_path / "bugs" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelFolderError):
        publish.add(tmp_path / "bugs")


def test_outside_a_clone_no_name_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match="clone"):
        midas_cli.add(tmp_path)


def test_nothing_is_pushed_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    write(tmp_path / "bugs")
    with pytest.raises(MidasError, match="no Hugging Face token"):
        publish.push(tmp_path / "bugs", "someone/bugs")


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
