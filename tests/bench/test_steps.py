"""Step times are those of real steps, and their ratios and memory are told."""

import re

import pytest
from typer.testing import CliRunner

from midas.bench.cases import StepCase
from midas.bench.steps import _summary, forward_macs, measure, table
from midas.genotype import Genotype
from midas.nets.build import build_network
from midas.nets.complexity import count_macs
from midas.nets.registry import ZOO
from midas_cli import app

SMALL = {"channels": 4, "cells": 3, "size": 8, "batch": 4}


@pytest.mark.slow
def test_a_larger_case_takes_longer_and_more_memory() -> None:
    cases = [StepCase("small", "darts", None, **SMALL), StepCase("large", "darts", None, **{**SMALL, "batch": 64})]
    small, large = measure(cases, runs=3)
    assert 0 < small.low <= small.median <= small.high
    assert large.median > 1.5 * small.median
    assert small.memory is not None
    assert large.memory is not None
    assert large.memory > small.memory + 10
    ratios = re.findall(r"\| ([\d.]+) \| [\d.]+ to [\d.]+ \| \d+ \| ([\d.]+) \|", table(cases, [small, large]))
    assert ratios[0] == ("1.00", "1.00")
    assert all(float(ratio) > 1 for ratio in ratios[1])


def test_a_ratio_is_of_the_same_round() -> None:
    """A machine that is three times slower in some rounds changes seconds and no ratio."""
    slow = [1.0, 3.0, 1.0, 3.0]
    found = _summary([2 * second for second in slow], slow, None, None)
    assert (found.median, found.ratio) == (4.0, (2.0, 2.0, 2.0))
    assert "| 2.00 | 2.00 to 2.00 |" in table([StepCase("x")], [found])


def test_multiply_adds_are_those_of_the_whole_batch() -> None:
    case = StepCase("x", cell="darts_v2", channels=4, cells=2, size=8, batch=4)
    network = build_network(Genotype.from_value(ZOO["darts_v2"]["genotype"]), num_classes=10, channels=4, cells=2)
    assert forward_macs(case)[0] == 4 * count_macs(network, (3, 8, 8))


def test_the_command_prints_static_parameters_first_and_three_patch_sizes() -> None:
    options = "--channels 2 --cells 3 --size 8 --batch 4 --runs 1 --no-memory"
    result = CliRunner().invoke(app, ["bench", "step", *options.split()], catch_exceptions=False)
    names = [line.split("|")[1].strip() for line in result.stdout.splitlines()[2:]]
    assert names == ["static", "MIDAS, patch none", "MIDAS, patch 4", "MIDAS, patch 8"]
