"""Copies of a network that share a batch give what each part alone gives, averaged."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from midas.engine.replicas import Replicas


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2))


def loss(modules: nn.ModuleList, images: Tensor) -> Tensor:
    value: Tensor = modules[0](images).square().mean()
    value.backward()
    return value.detach()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_gradients_and_statistics_are_the_mean_over_the_parts(count: int) -> None:
    shared, plain = network(), network()
    parts = torch.randn(count, 5, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    replicas = Replicas(nn.ModuleList([shared]), count)
    losses = replicas.run([partial(loss, images=part) for part in parts])
    replicas.join()
    alone = [copy.deepcopy(plain) for _ in parts]
    for module, part, value in zip(alone, parts, losses, strict=True):
        torch.testing.assert_close(loss(nn.ModuleList([module]), part), value)
    for index, weight in enumerate(shared.parameters()):
        mean = torch.stack([list(module.parameters())[index].grad for module in alone]).mean(0)
        torch.testing.assert_close(weight.grad, mean)
    means = torch.stack([module[1].running_mean for module in alone]).mean(0)
    for modules in replicas.copies:
        torch.testing.assert_close(modules[0][1].running_mean, means)


def test_the_copies_follow_the_weights_when_an_optimiser_steps() -> None:
    shared = network()
    replicas = Replicas(nn.ModuleList([shared]), 2)
    optimiser = torch.optim.SGD(shared.parameters(), lr=0.1)
    images = torch.randn(4, 3, 6, 6)
    replicas.run([partial(loss, images=images)] * 2)
    replicas.join()
    optimiser.step()
    for mine, theirs in zip(shared.parameters(), replicas.copies[1][0].parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert theirs.grad is None


def test_the_callers_number_of_threads_stays() -> None:
    threads = torch.get_num_threads()
    Replicas(nn.ModuleList([network()]), 2).run([partial(loss, images=torch.randn(2, 3, 6, 6))] * 2)
    assert torch.get_num_threads() == threads


def test_an_error_in_one_copy_reaches_the_caller() -> None:
    wrong = [partial(loss, images=torch.randn(2, 3, 6, 6)), partial(loss, images=torch.randn(2, 5))]
    with pytest.raises(RuntimeError):
        Replicas(nn.ModuleList([network()]), 2).run(wrong)
