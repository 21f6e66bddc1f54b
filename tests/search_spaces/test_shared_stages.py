"""One dense training for all trials that start from trained weights."""

from __future__ import annotations

from search_spaces import Trial
from search_spaces.point import stage

RECIPE = {"dataset": "digits", "architecture": "mlp", "seed": 3, "lr": 0.02, "batch_size": 32}
DENSE = Trial(**RECIPE, epochs=7)


def pruned(**fields):
    return Trial(**RECIPE, pruner="magnitude", **{"epochs": 7, "scope": "layer", "options": {"a": 1}} | fields)


def test_pruning_at_initialisation_has_no_stage():
    assert stage(pruned()) is None
    assert stage(DENSE) is None


def test_pretraining_is_the_dense_trial_of_so_many_epochs():
    found = [stage(pruned(compression=c, pretrain_epochs=7, epochs=e)) for c in (2, 8) for e in (0, 3)]
    assert found == [DENSE] * 4
    assert {trial.fingerprint for trial in found} == {DENSE.fingerprint}
    assert stage(pruned(pretrain_epochs=5)).epochs == 5


def test_the_first_level_is_a_dense_training():
    assert stage(pruned(levels=3, rewind_epoch=2, ablation="shuffle")) == DENSE
