"""Fine-tuning trains what the options name: the rest keeps its values, or moves more slowly."""

from typing import Any

import pytest
import torch
from test_timm_targets import config as timm_config
from test_timm_targets import saved, start
from test_train_loop import GENOTYPE, META, RECIPE, TRAIN, VAL
from timm.models import group_parameters
from torch import nn

from midas.engine.distributed import Distributed
from midas.io.errors import ParamsError
from midas.train.config import TargetConfig
from midas.train.run import train
from midas.train.start import initial_network, start_network
from midas.train.state import new_state
from midas.train.training import Training

PLAIN = {"momentum": 0.0, "weight_decay": 0.0, "clip": None, "learning_rate": 0.1}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights of the small timm model."""
    tensors = dict(start()[0].state_dict())
    return saved(tmp_path_factory.mktemp("weights"), tensors)


def moved(network: nn.Module, options: TargetConfig, meta: Any = META) -> dict[str, torch.Tensor]:
    """What two epochs change, statistics included."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    after = train(network, options, TRAIN, VAL, meta).last
    return {k: after[k] - before[k] for k in before if not torch.equal(after[k], before[k])}


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_frozen_body_keeps_weights_and_statistics(path: str, replicas: int) -> None:
    options = timm_config(weights=path, freeze="body", replicas=replicas)
    network, meta = start_network(None, options, META)
    assert moved(network, options, meta).keys() == {"classifier.weight", "classifier.bias"}


def test_so_many_layers_are_frozen_and_every_later_one_is_trained(path: str) -> None:
    network, meta = start(META, weights=path)
    layers = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    most = max(layers.values())
    for count in (1, 3, most):
        options = timm_config(weights=path, freeze=count)
        network, meta = start_network(None, options, META)
        changed = moved(network, options, meta).keys() & layers.keys()
        assert {layers[name] for name in changed} == set(range(count, most + 1))
    with pytest.raises(ParamsError, match=f"freeze: {most + 1} .* the body has {most} layers"):
        new_state(network, timm_config(weights=path, freeze=most + 1))


def test_a_found_network_is_frozen_too(tmp_path: Any) -> None:
    recipe = {**RECIPE, "auxiliary_weight": 0.4}
    weights = initial_network(GENOTYPE, TargetConfig(**recipe), 5).state_dict()
    options = TargetConfig(**recipe, weights=saved(tmp_path, dict(weights)), freeze="body")
    network, meta = start_network(GENOTYPE, options, META)
    assert moved(network, options, meta).keys() == {"classifier.weight", "classifier.bias"}


def test_the_rate_falls_by_the_factor_in_each_layer(path: str) -> None:
    """A plain step of SGD moves each weight by rate times gradient; the gradient is the same."""
    steps = []
    for decay in (None, 0.5):
        options = timm_config(weights=path, layer_decay=decay, **PLAIN)
        network, meta = start_network(None, options, META)
        job = Training(network, options, TRAIN, VAL, meta, "t", Distributed(), seed=0)
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        job.begin_epoch(0, 0)
        job.step(0, 0)
        steps.append({name: p.detach() - before[name] for name, p in network.named_parameters()})
    layers = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    last = max(layers.values())
    assert last > 3
    for name, full in steps[0].items():
        expected = full * 0.5 ** (last - layers[name])
        torch.testing.assert_close(steps[1][name], expected, atol=1e-6, rtol=1e-3)


def test_the_history_has_the_rate_of_the_last_layer(path: str) -> None:
    options = timm_config(weights=path, layer_decay=0.5, schedule="linear")
    network, meta = start_network(None, options, META)
    history = train(network, options, TRAIN, VAL, meta).history
    assert [row["learning_rate"] for row in history] == [0.05, 0.025]


def test_an_auxiliary_head_has_the_full_rate() -> None:
    options = TargetConfig(**{**RECIPE, "auxiliary_weight": 0.4, "layer_decay": 0.5})
    state = new_state(initial_network(GENOTYPE, options, 2), options)
    assert "lr_scale" not in state.optimiser.param_groups[-1]
    grouped = [p for group in state.optimiser.param_groups for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in state.parameters()}


def test_freezing_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="name them by `weights`"):
        timm_config(freeze="body")
    for wrong in ("head", 0, 1.5):
        with pytest.raises(ValueError, match="freeze"):
            timm_config(weights="a", freeze=wrong)
