"""Every preset asks for what exists, of networks that can take its images."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from orchestrator.planning.catalog import catalog
from search_spaces import expand, load, presets
from trainables.architectures import check
from trainables.datasets import lookup

# Masks of a run that only the user has.
MADE = SimpleNamespace(fields={"mask": "0" * 64, "pruner": "snip", "compression": 10.0})


@pytest.mark.parametrize("name", presets())
def test_a_preset_expands(name):
    cells, trials = expand(load(name), catalog(mask=lambda asked: MADE))
    assert len({trial.fingerprint for trial in trials}) == len(trials) <= len(cells)
    for network, dataset in {(trial.network, trial.dataset) for trial in trials}:
        check(network, lookup(dataset).input_shape)


def test_the_papers_grids_are_as_large_as_published():
    sizes = {name: len(expand(load(name), catalog())[0]) for name in ("synflow-cifar-vgg", "cos598d", "grasp-vgg19")}
    assert sizes == {
        "synflow-cifar-vgg": 2 * 2 * 5 * 13 * 3,
        "cos598d": 5 * 6,
        "grasp-vgg19": 2 * 2 * 4 * 3,
    }
