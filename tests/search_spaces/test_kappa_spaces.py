"""The share of filters removed, written in a space in place of the compression."""

from __future__ import annotations

import pytest

from orchestrator.planning.catalog import catalog
from search_spaces import Cell, SpaceError, Trial, expand, load, stage

BASE = {"dataset": "digits", "architecture": "conv", "pruner": "snip", "granularity": "filter"}


def expanded(**fields):
    return expand(load(BASE | fields), catalog())


def test_an_axis_of_kappas():
    cells, trials = expanded(kappa=[0, 0.3, 0.7], seed=[0, 1])
    assert [(cell.kappa, cell.compression, cell.seed) for cell in cells] == [
        (0, 1, 0), (0, 1, 1), (0.3, 0, 0), (0.3, 0, 1), (0.7, 0, 0), (0.7, 0, 1)  # nothing removed: the dense trial
    ]  # fmt: skip
    assert not any(cell.settings.keys() & {"kappa"} for cell in cells)
    assert [(trial.pruner, trial.kappa, trial.compression) for trial in trials[::2]] == [
        ("dense", 0, 1), ("snip", 0.3, 1), ("snip", 0.7, 1)
    ]  # fmt: skip
    assert trials[4].name == "conv digits snip kappa=0.7 s0"
    assert trials[4].params()["kappa"] == "0.7"


def test_beside_a_name_it_stands_for_the_compressions_that_others_get():
    pruners = ["random", {"name": "snip", "kappa": 0.3}, {"name": "snip", "kappa": 0.7, "granularity": "filter-max"}]
    cells, trials = expanded(pruner=pruners, compression=[1, 2, 4])
    assert [(cell.pruner, cell.compression, cell.kappa) for cell in cells] == [
        ("random", 1, 0), ("random", 2, 0), ("random", 4, 0), ("snip", 0, 0.3), ("snip granularity=filter-max", 0, 0.7)
    ]  # fmt: skip
    assert len(trials) == 5


def test_several_kappas_of_one_pruner_are_one_line():
    cells, _ = expanded(pruner=[{"name": "snip", "kappa": 0.3}, {"name": "snip", "kappa": 0.7}])
    assert [(cell.pruner, cell.kappa) for cell in cells] == [("snip", 0.3), ("snip", 0.7)]


def test_an_override_replaces_the_compression_and_the_other_way_round():
    assert load(BASE | {"sparsity": 0.5}, ["kappa=0.3"]).axes["kappa"] == (0.3,)
    assert "kappa" not in load(BASE | {"kappa": 0.5}, ["compression=2"]).axes


def test_the_dense_training_before_it_has_none():
    (trial,) = expanded(kappa=0.5, pruner={"name": "magnitude", "pretrain_epochs": 2})[1]
    assert (trial.kappa, stage(trial).kappa) == (0.5, 0)


def test_records_without_kappa_are_as_they_were():
    fields = {"dataset": "cifar10", "architecture": "resnet20", "pruner": "snip", "compression": 10}
    assert Trial(**fields, kappa=0).fingerprint == Trial(**fields).fingerprint == "eee70aa9de941f82"
    assert Cell(**fields, seed=0, fingerprint="f").kappa == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kappa": 0.5, "compression": 2}, "kappa: compression is given too; write only one of compression, density"),
        ({"kappa": 0.5, "sparsity": 0.5}, "kappa: sparsity is given too"),
        ({"kappa": 1}, "kappa: 1 is not allowed; it must be less than 1"),
        ({"kappa": [0.5, -0.1]}, "kappa: -0.1 is not allowed; it must be greater than or equal to 0"),
        ({"kapa": 0.5}, "'kapa' is not known; did you mean 'kappa'"),
        ({"pruner": {"name": "snip", "kappa": "x"}}, "pruner snip: kappa: 'x' is not allowed"),
        ({"kappa": 0.5, "granularity": "weight"}, "pruner snip: kappa: is a share of filters, but the granularity is "
         "'weight'; choose granularity filter, filter-mean, filter-max, head, neuron"),
        ({"kappa": 0.5, "granularity": "2:4"}, "the granularity is '2:4'"),
        ({"kappa": 0.5, "pruner": "gradual"}, "pruner gradual: granularity: 'filter' is not allowed"),
        ({"kappa": 0.5, "levels": 2}, "pruner snip: levels: 2 is not allowed with kappa"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(fields, message):
    with pytest.raises(SpaceError) as refused:
        expanded(**fields)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
