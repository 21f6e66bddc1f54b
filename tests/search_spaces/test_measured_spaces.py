"""Spaces that ask for something else than training: what counts for the record, and what is refused."""

from __future__ import annotations

import pytest

from orchestrator.planning.catalog import catalog
from search_spaces import SpaceError, expand, load, stage

NAMES = catalog()
BASE = {"dataset": "digits", "architecture": "conv", "pruner": "synflow", "measure": "critical-compression"}


def only(**fields):
    (cell,), (trial,) = expand(load(BASE | fields), NAMES)
    return cell, trial


def test_what_a_measure_ignores_is_no_part_of_its_trials():
    _, trial = only()
    assert trial.fingerprint == only(compression=100, lr=0.5, epochs=7, lr_schedule="cosine")[1].fingerprint
    assert trial.fingerprint != only(iterations=7)[1].fingerprint
    assert trial.fingerprint != only(measure="layer-conservation")[1].fingerprint
    assert only(measure="layer-conservation") == only(measure="layer-conservation", iterations=7, scope="layer")
    assert trial.epochs == trial.epochs_to_train == 0
    assert stage(trial) is None


def test_a_cell_has_the_compression_that_its_measure_asks_for_if_any():
    assert only(compression=10)[0].compression == 0
    assert only(compression=10, measure="schedule-conservation")[0].compression == 10
    assert only(compression=10)[1].name == "conv digits synflow critical-compression s0"


def test_training_is_the_measure_of_all_other_trials():
    plain = {key: value for key, value in BASE.items() if key != "measure"} | {"compression": 10}
    _, (trial,) = expand(load(plain), NAMES)
    assert (trial.measure, trial.epochs) == ("training", 160)
    assert only(measure="training", compression=10)[1].fingerprint == trial.fingerprint


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"measure": "critical-compresion"}, "did you mean 'critical-compression'"),
        ({"measure": {"low": 1, "high": 2}}, "cannot be a range"),
        ({"granularity": "filter"}, "looks at single weights"),
        ({"pruner": {"name": "snip", "granularity": "filter", "kappa": 0.5}}, "looks at single weights"),
        ({"pruner": "imp"}, "prunes after training"),
        ({"pruner": "rigl"}, "prunes during training"),
        ({"pruner": "rigl", "measure": "imp-conservation"}, "prunes during training"),
    ],
)
def test_what_a_measure_cannot_look_at_is_refused(fields, said):
    with pytest.raises(SpaceError, match=said):
        only(**fields)
