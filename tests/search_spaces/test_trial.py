"""Fingerprints: same trial, same fingerprint, for ever."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from search_spaces import Trial

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


def test_fields_that_came_later_default_to_what_trials_did_before():
    later = {"warmup_epochs": 0, "label_smoothing": 0, "accumulate": 1, "ema": 0, "precision": "float32"}
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
