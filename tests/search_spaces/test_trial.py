"""Fingerprints: same trial, same fingerprint, for ever."""

from __future__ import annotations

from math import inf

import pytest
from pydantic import ValidationError

from search_spaces import Cell, Trial

SNIP = {"dataset": "cifar10", "architecture": "resnet20", "pruner": "snip", "compression": 10}


@pytest.mark.parametrize(
    ("fields", "fingerprint"),
    [  # results lie in people's MLflow under these: a change here makes all of them unfindable
        ({"dataset": "digits", "architecture": "mlp"}, "cf299b79d4225f1b"),
        (SNIP, "eee70aa9de941f82"),
        (
            SNIP | {"seed": 3, "lr_schedule": "step", "lr_drops": [60, 120], "options": {"epsilon": 0.01}},
            "424b297a4d9cd5b4",
        ),
    ],
)
def test_fingerprints_are_pinned(fields, fingerprint):
    assert Trial(**fields).fingerprint == fingerprint


def test_defaults_do_not_enter_the_fingerprint():
    assert Trial(**SNIP).fingerprint == Trial(**SNIP, epochs=160, momentum=0.9, seed=0).fingerprint


def test_defaults_are_a_promise():
    # Fingerprints leave them out: another default would make old results those of trials that never ran.
    promised = {
        "data_digest": "", "validation": 0.0, "augment": "", "architecture_options": {}, "architecture_code": "",
        "pretrained": "", "init": "",
        "dense_classifier": False, "keep_dense": (), "pruner": "dense", "compression": 1.0, "kappa": 0.0,
        "granularity": "weight", "scope": "global", "schedule": "oneshot", "iterations": 1, "mode": "eval",
        "samples_per_class": 10, "options": {}, "mask": "", "code": "", "ablation": "none", "pretrain_epochs": 0,
        "levels": 0, "rewind_epoch": 0, "measure": "training", "seed": 0, "epochs": 160, "batch_size": 128,
        "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4,
        "lr_schedule": "constant", "lr_drops": (), "lr_factor": 0.1, "warmup_epochs": 0, "label_smoothing": 0.0,
        "rand_augment": 0, "random_erasing": 0.0, "mixup": 0.0, "cutmix": 0.0,
        "accumulate": 1, "ema": 0.0, "precision": "float32",
    }  # fmt: skip
    trial = Trial(dataset="digits", architecture="mlp")
    assert {key: getattr(trial, key) for key in promised} == promised


@pytest.mark.parametrize(
    ("field", "allowed", "refused"),
    [
        ("validation", (0, 0.99), (-0.01, 1)),
        ("compression", (1, 1e9), (0.99, inf)),
        ("kappa", (0, 0.99), (-0.01, 1)),
        ("iterations", (1,), (0,)),
        ("samples_per_class", (1,), (0,)),
        ("pretrain_epochs", (0,), (-1,)),
        ("levels", (0,), (-1,)),
        ("rewind_epoch", (0,), (-1,)),
        ("seed", (0,), (-1,)),
        ("epochs", (0,), (-1,)),
        ("batch_size", (2,), (1,)),
        ("lr", (1e-9, 1.5), (0, inf)),
        ("momentum", (0, 1.5), (-0.1, inf)),
        ("weight_decay", (0, 1.5), (-0.1, inf)),
        ("lr_factor", (1e-9, 1), (0, 1.01)),
        ("warmup_epochs", (0,), (-1,)),
        ("label_smoothing", (0, 0.99), (-0.01, 1)),
        ("rand_augment", (0, 30), (-1, 31)),
        ("random_erasing", (0, 1), (-0.01, 1.01)),
        ("mixup", (0, 1.5), (-0.1, inf)),
        ("cutmix", (0, 1.5), (-0.1, inf)),
        ("accumulate", (1,), (0,)),
        ("ema", (0, 0.99), (-0.01, 1)),
    ],
)
def test_numbers_have_their_bounds(field, allowed, refused):
    for value in allowed:
        assert getattr(Trial(**SNIP | {field: value}), field) == value
    for value in refused:
        with pytest.raises(ValidationError):
            Trial(**SNIP | {field: value})


def test_scoring_is_what_compressions_have_in_common():
    scoring = Trial(**SNIP).scoring
    assert scoring == Trial(**SNIP | {"compression": 20}).scoring == Trial(**SNIP | {"kappa": 0.5}).scoring != ""
    assert scoring != Trial(**SNIP, seed=1).scoring
    others = [{"pruner": "dense"}, {"mask": "ab"}, {"measure": "unit-conservation"}, {"iterations": 2}, {"levels": 1}]
    assert [Trial(**SNIP | other).scoring for other in others] == [""] * 5


def test_numbers_that_follow_from_a_trial():
    assert Trial(**SNIP).density == 0.1
    assert Trial(**SNIP).epochs_to_train == 160
    assert Trial(**SNIP, levels=3, rewind_epoch=10).epochs_to_train == 10 + 3 * 150


def test_a_cell_written_before_there_was_kappa_has_none():
    cell = Cell(dataset="digits", architecture="mlp", pruner="snip", compression=4, seed=0, fingerprint="ab")
    assert (cell.kappa, cell.role) == (0, "grid")


def test_fields_that_came_later_default_to_what_trials_did_before():
    later = {
        "warmup_epochs": 0,
        "label_smoothing": 0,
        "rand_augment": 0,
        "random_erasing": 0,
        "mixup": 0,
        "cutmix": 0,
        "accumulate": 1,
        "ema": 0,
        "precision": "float32",
        "init": "",
        "augment": "",
    }
    assert Trial(**SNIP, **later).fingerprint == "eee70aa9de941f82"


def test_every_field_that_differs_changes_it():
    changes = {"compression": 20, "seed": 1, "epochs": 10, "lr": 0.2, "scope": "layer", "options": {"a": 1}}
    prints = {Trial(**(SNIP | {key: value})).fingerprint for key, value in changes.items()}
    assert len(prints | {Trial(**SNIP).fingerprint}) == len(changes) + 1


def test_config_is_what_seeds_have_in_common():
    a, b = Trial(**SNIP, seed=1), Trial(**SNIP, seed=2)
    assert a.config == b.config
    assert a.fingerprint != b.fingerprint


def test_a_record_survives_json_and_cannot_be_changed():
    trial = Trial(**SNIP, lr_drops=(60, 120))
    assert Trial.model_validate_json(trial.model_dump_json()) == trial
    with pytest.raises(ValidationError):
        trial.seed = 3
    with pytest.raises(ValidationError):
        Trial(**SNIP, learning_rate=0.1)


def test_params_are_flat_strings():
    params = Trial(**SNIP, lr_drops=(60, 120), options={"epsilon": 0.01}).params()
    assert params["compression"] == "10"
    assert Trial(**SNIP, lr=0.12345678).params()["lr"] == "0.12345678"
    assert params["lr_drops"] == "60,120"
    assert params["options.epsilon"] == "0.01"
    assert all(isinstance(value, str) for value in params.values())
