"""A space is refused in one sentence that names the key, the value and what is allowed, or it is right."""

from __future__ import annotations

import pytest

from search_spaces import SpaceError, load

SMALL = {"dataset": "digits", "architecture": "mlp", "pruner": "snip"}


def test_scalar_is_fixed_and_list_is_gridded():
    space = load(SMALL | {"compression": [1, 10], "lr": 0.1})
    assert space.axes["compression"] == (1.0, 10.0)
    assert space.axes["lr"] == (0.1,)
    assert space.varied == ("compression",)


def test_mapping_is_searched():
    space = load(SMALL | {"lr": {"low": 0.001, "high": 0.5, "log": True}, "momentum": {"choices": [0, 0.9]}})
    assert space.searched["lr"].log
    assert space.searched["momentum"].choices == (0, 0.9)
    assert "lr" not in space.axes


def test_mapping_with_a_name_is_a_value_with_settings():
    space = load(SMALL | {"pruner": [{"name": "synflow", "iterations": 100}, "snip"]})
    assert space.axes["pruner"] == ({"name": "synflow", "iterations": 100}, {"name": "snip"})
    schedule = load(SMALL | {"lr_schedule": {"name": "step", "drops": [60, 120], "factor": 0.2}}).axes["lr_schedule"]
    assert schedule == ({"lr_schedule": "step", "lr_drops": (60, 120), "lr_factor": 0.2},)


@pytest.mark.parametrize(
    ("written", "compression"),
    [
        ({"density": 0.1}, 10.0),
        ({"sparsity": 0.9}, 10.0),
        ({"sparsity": [0, 0.5, 0.98]}, (1.0, 2.0, 50.0)),
        ({"compression": 3.16}, 3.16),
    ],
)
def test_density_and_sparsity_become_compression_at_the_door(written, compression):
    expected = compression if isinstance(compression, tuple) else (compression,)
    assert load(SMALL | written).axes["compression"] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compresion": 2}, "'compresion' is not known; did you mean 'compression'?"),
        ({"compression": 0.5}, "compression: 0.5 is not allowed; it must be greater than or equal to 1"),
        ({"compression": float("inf")}, "compression: inf is not allowed; it must be a finite number"),
        ({"compression": float("nan")}, "compression: nan is not allowed"),
        ({"compression": []}, "compression: the list is empty"),
        ({"compression": [1, 2, 1]}, "compression: 1 is listed twice"),
        ({"compression": 2, "density": 0.5}, "density: compression is given too"),
        ({"sparsity": 1}, "sparsity: 1 is not allowed"),
        ({"sparsity": 1.5}, "sparsity: 1.5 is not allowed"),
        ({"density": 0}, "density: 0 is not allowed"),
        ({"density": 2}, "density: 2 is not allowed"),
        ({"seed": -1}, "seed: -1 is not allowed"),
        ({"seed": 0.5}, "seed: 0.5 is not allowed"),
        ({"seed": True}, "seed: True is not allowed"),
        ({"compression": True}, "compression: True is not allowed"),
        ({"name": [1]}, "name: [1] is not a name"),
        ({"name": ""}, "name: '' is not a name"),
        ({"epochs": "ten"}, "epochs: 'ten' is not allowed"),
        ({"epochs": [[1, 2]]}, "epochs: [1, 2] is not a single value"),
        ({"batch_size": 1}, "batch_size: 1 is not allowed"),
        ({"optimizer": "sdg"}, "optimizer: 'sdg' is not allowed; it must be 'sgd', 'adam', 'adamw' or 'rmsprop'"),
        ({"lr": {"low": 1, "high": 0.1}}, "lr: low 1 must be less than high 0.1"),
        ({"lr": {"low": 0, "high": 1, "log": True}}, "lr: log needs low above 0"),
        ({"lr": {"low": 1}}, "lr: a searched field needs low and high, or choices"),
        ({"lr": {"lo": 1, "high": 2}}, "lr: 'lo' is not known; did you mean 'low'?"),
        ({"lr": {"choices": []}}, "lr: choices must be a list of at least one value"),
        ({"pruner": 3}, "pruner: 3 is not a name"),
        ({"pruner": {"nam": "snip"}}, "pruner: {'nam': 'snip'} is not a name or a mapping with a name"),
        ({"lr_schedule": "stepp"}, "lr_schedule.name: 'stepp' is not allowed"),
        ({"lr_schedule": {"name": "step", "drop": [1]}}, "'drop' is not known; did you mean 'drops'?"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(change, message):
    with pytest.raises(SpaceError) as caught:
        load(SMALL | change)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_space_must_say_what_it_is_about():
    with pytest.raises(SpaceError, match="pruner: missing"):
        load({"dataset": "digits", "architecture": "mlp"})


def test_a_word_for_a_number():
    with pytest.raises(SpaceError, match=r"^lr: 'fast' is not allowed; it must be a valid number$"):
        load(SMALL | {"lr": "fast"})


def test_how_many_work_on_a_trial_is_no_part_of_it():
    asked = load(SMALL | {"workers_per_trial": 2, "gpus_per_trial": 2})
    assert (asked.workers_per_trial, asked.gpus_per_trial) == (2, 2)
    assert asked.axes == load(SMALL).axes


@pytest.mark.parametrize("value", [0, 1.5, True, "two"])
def test_half_a_worker_is_refused(value):
    with pytest.raises(SpaceError, match=r"workers_per_trial: .* must be a whole number from 1"):
        load(SMALL | {"workers_per_trial": value})
