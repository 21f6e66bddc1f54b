"""The grid: all cells, and no computation twice."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from orchestrator.planning.catalog import catalog
from search_spaces import SpaceError, expand, load

BASE = {"dataset": "digits", "architecture": "mlp", "pruner": "snip"}


def trials(**fields):
    return expand(load(BASE | fields), catalog())[1]


def test_one_dense_trial_serves_all_pruners():
    cells, unique = expand(load("digits"), catalog())
    assert len(cells) == 60
    assert len(unique) == 52
    assert sum(trial.pruner == "dense" for trial in unique) == 2
    assert {cell.fingerprint for cell in cells} == {trial.fingerprint for trial in unique}


def test_the_dense_trial_is_the_same_whatever_the_pruner_and_its_settings():
    first = trials(pruner="synflow", compression=1)
    second = trials(pruner={"name": "grasp", "mode": "eval"}, compression=1, scope="layer", iterations=1)
    assert first == second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"pruner": "random"}, {"pruner": {"name": "random", "iterations": 5, "mode": "train"}}),
        ({"pruner": "magnitude"}, {"pruner": {"name": "magnitude", "samples_per_class": 3}}),
        ({"pruner": "synflow"}, {"pruner": {"name": "synflow", "iterations": 100, "schedule": "exponential"}}),
        ({"schedule": "linear"}, {"schedule": "exponential"}),  # of one iteration
        ({"optimizer": "adam", "momentum": 0.5}, {"optimizer": "adam", "nesterov": True}),
        ({"optimizer": "adamw", "momentum": 0.5}, {"optimizer": "adamw", "nesterov": True}),
        ({"optimizer": "rmsprop"}, {"optimizer": "rmsprop", "nesterov": True}),
        ({"optimizer": "momentum"}, {"optimizer": "sgd"}),  # the SynFlow program's name
        ({"lr_schedule": {"name": "cosine", "drops": [3]}}, {"lr_schedule": "cosine"}),
    ],
)
def test_what_changes_nothing_is_not_hashed(one, other):
    assert trials(**{"compression": 10, **one})[0].fingerprint == trials(**{"compression": 10, **other})[0].fingerprint


def test_a_pruners_own_settings_win_over_the_spaces():
    (trial,) = trials(pruner={"name": "snip", "scope": "layer"}, scope="global", compression=2)
    assert trial.scope == "layer"


def test_labels_tell_variants_of_one_pruner_apart():
    space = load(BASE | {"pruner": ["snip", "synflow", {"name": "synflow", "iterations": 1}], "compression": 2})
    cells, _ = expand(space, catalog())
    assert [cell.pruner for cell in cells] == ["snip", "synflow", "synflow iterations=1"]


def test_other_varied_fields_stand_in_the_cell():
    cells, unique = expand(load(BASE | {"lr": [0.1, 0.2], "compression": [1, 2]}), catalog())
    assert [(cell.settings, cell.compression) for cell in cells] == [
        ({"lr": 0.1}, 1.0),
        ({"lr": 0.1}, 2.0),
        ({"lr": 0.2}, 1.0),
        ({"lr": 0.2}, 2.0),
    ]
    assert len(unique) == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pruner": "snap"}, "pruner: 'snap' is not known; did you mean 'snip'?"),
        ({"architecture": "resnet21"}, "architecture: 'resnet21' is not known; did you mean 'resnet20'?"),
        ({"dataset": "cifar"}, "dataset: 'cifar' is not known; did you mean 'cifar10'?"),
        ({"scope": "globle"}, "scope: 'globle' is not known; did you mean 'global'?"),
        ({"granularity": "filtre"}, "granularity: 'filtre' is not known"),
        ({"granularity": "2:4", "compression": 10}, "compression: granularity 2:4 keeps 2 of 4 weights, which is 2x"),
        ({"granularity": "filter", "scope": "erk"}, "Granularity 'filter' has the scopes global and layer"),
        ({"pruner": {"name": "snip", "iteration": 3}}, "pruner snip: 'iteration' is not known; did you mean"),
        ({"pruner": {"name": "snip", "iterations": 0}}, "pruner snip: iterations: 0 is not allowed"),
        ({"pruner": {"name": "snip", "mode": "evil"}}, "pruner snip: mode: 'evil' is not known; did you mean 'eval'?"),
        ({"iterations": 5, "schedule": "oneshot"}, "pruner snip:"),
        ({"lr_schedule": "step"}, "lr_schedule: step needs drops"),
        ({"lr_schedule": {"name": "step", "drops": []}}, "lr_schedule: step needs drops"),
        ({"nesterov": True, "momentum": 0}, "nesterov: needs momentum above 0"),
        ({"epochs": 5, "warmup_epochs": 5}, "warmup_epochs: 5 is not allowed; it must be below epochs: 5"),
        ({"batch_size": 16, "accumulate": 9}, "accumulate: 9 is not allowed; batch_size: 16 can have at most 8 parts"),
        ({"batch_size": 2, "accumulate": 2}, "accumulate: 2 is not allowed; batch_size: 2 can have at most 1 parts"),
        ({"accumulate": 0}, "accumulate: 0 is not allowed; it must be greater than or equal to 1"),
        ({"ema": 1}, "ema: 1 is not allowed; it must be less than 1"),
        ({"label_smoothing": -0.1}, "label_smoothing: -0.1 is not allowed; it must be greater than or equal to 0"),
        ({"precision": "float16"}, "precision: 'float16' is not allowed; it must be 'float32', 'tf32' or 'bfloat16'"),
    ],
)
def test_names_and_options_that_do_not_exist(fields, message):
    with pytest.raises(SpaceError) as caught:
        trials(**{"compression": 2, **fields})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"nesterov": True},  # alone
        {"momentum": 0},
        {"batch_size": 4, "accumulate": 2},
        {"epochs": 5, "warmup_epochs": 4},
        {"granularity": "2:4"},
    ],
)
def test_what_is_just_allowed(fields):
    (trial,) = trials(compression=2, **fields)
    assert fields.items() <= trial.model_dump().items()


def test_masks_that_are_given_say_what_they_are():
    made = {
        "a": {"mask": "aaaaaaaaaaaa", "pruner": "snip", "compression": 4.0},
        "b": {"mask": "bbbbbbbbbbbb", "pruner": "snip", "compression": 4.0},
        "c": {"mask": "cccccccccccc", "pruner": "snip", "compression": 1.5},
        "d": {"mask": "dddddddddddd", "pruner": "snip", "compression": 1.0},
    }
    names = replace(catalog(), mask=lambda text: SimpleNamespace(fields=made[text]))
    space = load({"dataset": "digits", "architecture": "mlp", "mask": list(made)})
    cells, found = expand(space, names)
    assert [cell.pruner for cell in cells] == ["snip mask=aaaaaaaa", "snip mask=bbbbbbbb", "snip", "snip"]
    assert [cell.compression for cell in cells] == [4.0, 4.0, 1.5, 1.0]
    assert [trial.mask for trial in found] == ["aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc", ""]
    assert found[-1].pruner == "dense"  # such masks prune nothing


@pytest.mark.parametrize(
    ("pruner", "options"),
    [
        ("force", {"fresh_batches": True, "loss": "nll"}),
        ("iter-snip", {"fresh_batches": True, "loss": "nll"}),
        ({"name": "force", "loss": "cross-entropy"}, {"fresh_batches": True}),
        ({"name": "force", "loss": "cross-entropy", "fresh_batches": False}, {}),  # what old records without them mean
        ("phew", {"identity_shortcuts": False}),
        ("rigl", {"at_start": True}),
        ({"name": "rigl", "at_start": False}, {}),
        ("grasp", {}),
        ({"name": "grasp", "temperature": 1, "per_batch": True}, {"temperature": 1, "per_batch": True}),
        ({"name": "grasp", "temperature": 200}, {}),
        ("prospr", {}),
        ({"name": "prospr", "momentum": 0.9}, {"momentum": 0.9}),
    ],
)
def test_a_record_says_of_the_options_what_one_without_them_does_not_mean(pruner, options):
    (trial,) = trials(pruner=pruner, compression=2)
    assert trial.options == options


def test_snip_scores_in_eval_mode_and_says_so():
    # snip-public's is_train is False while it prunes; a record of before has the mode train, and keeps it.
    (trial,) = trials(pruner="snip", compression=2)
    assert trial.mode == "eval"
