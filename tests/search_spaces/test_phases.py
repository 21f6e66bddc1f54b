"""Before, after and during training: what a pruner gets unless told otherwise, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.planning.catalog import catalog
from pruners import PRUNERS
from search_spaces import SpaceError, Trial, expand, load
from search_spaces.phases import RECIPE

BASE = {"dataset": "digits", "architecture": "mlp", "epochs": 8, "compression": 4}
NAMES = catalog()
KINDS = {
    "after": replace(PRUNERS["magnitude"], when="after"),
    "multishot": replace(PRUNERS["magnitude"], when="after", levels=5),
    "during": replace(PRUNERS["magnitude"], when="during"),
}
NAMES = replace(NAMES, pruners={**NAMES.pruners, **KINDS})


def trial(**fields):
    return expand(load(BASE | fields), NAMES)[1][0]


def test_magnitude_prunes_the_fresh_weights_unless_told_otherwise():
    assert trial(pruner="magnitude").pretrain_epochs == 0
    assert trial(pruner={"name": "magnitude", "pretrain_epochs": 3}).pretrain_epochs == 3


def test_a_pruner_of_trained_weights_has_them_trained_as_long_as_the_trial():
    assert trial(pruner="after").pretrain_epochs == 8
    assert trial(pruner={"name": "after", "pretrain_epochs": 0}).pretrain_epochs == 0
    assert trial(pruner="after", pretrain_epochs=2).pretrain_epochs == 2


def test_levels_are_a_default_of_the_pruner_and_open_to_any_score():
    assert (trial(pruner="multishot").levels, trial(pruner="multishot").pretrain_epochs) == (5, 0)
    assert trial(pruner={"name": "multishot", "levels": 0, "pretrain_epochs": 3}).levels == 0
    assert trial(pruner="snip", levels=2, rewind_epoch=1).rewind_epoch == 1


def test_the_dense_trial_has_no_phases():
    dense = trial(pruner="multishot", compression=1, levels=3, rewind_epoch=2, ablation="shuffle")
    assert dense.fingerprint == trial(pruner="snip", compression=1).fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pruner": "during", "levels": 3}, "pruner during: levels: 3 is not allowed"),
        ({"pruner": {"name": "during", "levels": 3}}, "pruner during: levels: 3 is not allowed"),
        ({"pruner": "during", "ablation": "shuffle"}, "pruner during: ablation: 'shuffle' is not allowed"),
        ({"pruner": "during", "epochs": 0}, "pruner during: epochs: 0 is not allowed"),
        ({"pruner": "during", "granularity": "filter"}, "pruner during: granularity: 'filter' is not allowed"),
        ({"pruner": "multishot", "granularity": "1:4"}, "levels: 5 is not allowed with granularity 1:4"),
        ({"pruner": "during", "rewind_epoch": 1}, "pruner during: rewind_epoch: 1 is not allowed without levels"),
        ({"pruner": "snip", "rewind_epoch": 1}, "pruner snip: rewind_epoch: 1 is not allowed without levels"),
        ({"pruner": "multishot", "rewind_epoch": 8}, "rewind_epoch: 8 is not allowed; it must be below epochs: 8"),
        ({"pruner": "multishot", "epochs": 0}, "pruner multishot: epochs: 0 is not allowed; levels prune trained"),
        ({"pruner": "multishot", "pretrain_epochs": 3}, "pretrain_epochs: 3 is not allowed with levels: 5"),
        ({"pruner": "snip", "levels": -1}, "levels: -1 is not allowed"),
        ({"pruner": "snip", "ablation": "shufle"}, "ablation: 'shufle' is not allowed; it must be 'none', 'shuffle'"),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_sentence(fields, message):
    with pytest.raises(SpaceError) as caught:
        trial(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_field_of_a_trial_is_a_setting_of_training_or_not():
    """A field in neither would make a measure, which trains nothing, run once per value."""
    data = {"dataset", "data_digest", "validation"}
    network = {"architecture", "architecture_options", "architecture_code", "pretrained", "init"}
    network |= {"dense_classifier", "keep_dense"}
    pruning = {"pruner", "compression", "kappa", "granularity", "scope", "schedule", "iterations", "mode"}
    pruning |= {"samples_per_class", "options", "mask", "code"}
    others = data | network | pruning | {"measure", "seed"}
    assert not others & {*RECIPE}
    assert {*Trial.model_fields} == others | {*RECIPE}
