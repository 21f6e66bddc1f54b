"""Total training cost, against sums by hand: what each stage trains, on how many images, with which weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from search_spaces import Trial
from trainables.artifacts import _sizes
from trainables.profiling import profile
from trainables.run import run
from trainables.training_cost import kept_macs, logged_metrics, scored_images, training_cost

SMALL = {"dataset": "digits", "architecture": "mlp", "epochs": 2, "batch_size": 64, "lr": 0.05, "compression": 8}
IMP = Trial(**SMALL, pruner="imp", levels=3, rewind_epoch=1)
IMAGES, CLASSES = 1437, 10
WEIGHTS, BIASES = 64 * 100 + 4 * 100 * 100 + 100 * 10, 5 * 100 + 10  # each is used once for an input


def kept(compression):
    return WEIGHTS - math.floor((1 - 1 / compression) * WEIGHTS) + BIASES


def costs(trial, place):
    assert run(trial, place).error == ""
    logged = logged_metrics(place.storage / trial.fingerprint)
    return logged, logged["cost/training_macs", 0]


def test_one_training_and_the_images_that_were_scored(place):
    logged, cost = costs(Trial(**SMALL, pruner="snip", samples_per_class=2), place)
    assert cost == pytest.approx(3 * (2 * IMAGES * kept(8) + 2 * CLASSES * kept(1)))
    assert logged["cost/dense_training_macs", 0] == 3 * 2 * IMAGES * kept(1)


def test_a_dense_network_costs_its_own_training(place):
    logged, cost = costs(Trial(**SMALL | {"compression": 1}), place)
    assert cost == logged["cost/dense_training_macs", 0] == 3 * 2 * IMAGES * kept(1)


def test_every_level_and_the_dense_training_count(place):
    logged, cost = costs(IMP, place)
    dense = (2 + 1) * kept(1)  # the shared stage, and the epoch that levels go back to
    assert cost == pytest.approx(3 * IMAGES * (dense + kept(2) + kept(4) + kept(8)))
    assert [logged["level/macs_kept", level] for level in range(3)] == pytest.approx([kept(1), kept(2), kept(4)])


def test_shared_pretraining_counts_in_full_for_each_trial(place):
    for compression in (2, 8):  # the second finds the first one's weights
        trial = Trial(**SMALL | {"compression": compression}, pruner="magnitude", pretrain_epochs=3)
        assert costs(trial, place)[1] == pytest.approx(3 * IMAGES * (3 * kept(1) + 2 * kept(compression)))


@pytest.mark.parametrize("pruner", ["gradual", "set"])
def test_masks_that_change_count_epoch_by_epoch(pruner, place):
    how = {"schedule": "cubic", "iterations": 20} if pruner == "gradual" else {}
    logged, cost = costs(Trial(**SMALL, pruner=pruner, **how), place)
    first, last = (logged["train/macs_kept", epoch] for epoch in (1, 2))
    assert cost == pytest.approx(3 * IMAGES * (first + last))
    assert last == pytest.approx(logged["model/macs_kept", 0]) == pytest.approx(kept(8))
    assert first > last if pruner == "gradual" else first == last


LOGGED = {("model/macs", 0): 100.0, ("model/macs_kept", 0): 10.0} | {("level/macs_kept", n): 50.0 for n in (0, 1, 2)}


@pytest.mark.parametrize("missing", [("model/macs", 0), ("model/macs_kept", 0), ("level/macs_kept", 2)])
def test_a_cost_is_not_logged_if_a_part_of_it_is_not_known(missing):
    assert training_cost(IMP, LOGGED, 5, 0)["cost/training_macs"] == 3 * 5 * (3 * 100 + 2 * 50 + 10)
    assert training_cost(IMP, {key: value for key, value in LOGGED.items() if key != missing}, 5, 0) == {}


def test_scoring_counts_all_iterations_and_nothing_that_is_not_scored():
    def images(**fields):
        return scored_images(Trial(**SMALL | fields), CLASSES)

    assert images(pruner="snip", samples_per_class=3) == 30
    assert images(pruner="iter-snip", iterations=5, levels=2) == 10 * 10 * 5 * 2
    assert images(pruner="synflow", iterations=100) == 100  # one input, for its shape
    assert images(pruner="magnitude") == images(compression=1) == images(pruner="snip", mask="0123") == 0


def test_kept_macs_are_those_of_the_profile():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    masks = {name: torch.rand_like(weight) < 0.3 for name, weight in model.named_parameters() if "weight" in name}
    expected = _sizes(model, profile(model, masks, {}, (1, 8, 8)))["model/macs_kept"]
    assert kept_macs(model, (1, 8, 8))(masks) == {"macs_kept": pytest.approx(expected)}
    assert kept_macs(nn.Bilinear(2, 2, 2), (2,))({}) == {}  # it has two inputs, so that it cannot be counted
