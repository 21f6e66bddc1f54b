"""What a record's options mean where it scores: the batches of each iteration, the loss, the mode."""

from __future__ import annotations

import pytest
import torch

from pruners import find
from search_spaces import Trial
from trainables import datasets
from trainables.training.trainer import make_trainer

FORCE = Trial(
    dataset="digits",
    architecture="mlp",
    pruner="force",
    compression=10,
    schedule="exponential",
    iterations=3,
    mode="train",
    samples_per_class=5,
)


@pytest.fixture
def data(cache):
    return datasets.load("digits", None, cache)


def masks(trial, data):
    return make_trainer(trial, data, torch.device("cpu"), save_seconds=60).find(trial.compression).masks


def by_hand(trial, data, options, redraw=None):
    on = make_trainer(trial, data, torch.device("cpu"), save_seconds=60)
    asked = {"iterations": 3, "schedule": "exponential", "mode": "train", "seed": trial.seed, "options": options}
    return find(on.model, "force", 10, data.scoring_batches(trial.seed, 5), redraw=redraw, **asked).masks


def same(one, other):
    return all(torch.equal(mask, other[name]) for name, mask in one.items())


def test_a_record_of_before_the_options_scores_on_fixed_batches_by_cross_entropy(data):
    before = by_hand(FORCE, data, {"loss": "cross-entropy", "fresh_batches": False})
    assert same(masks(FORCE, data), before)


def test_a_new_record_draws_images_for_every_iteration(data):
    trial = FORCE.model_copy(update={"options": {"loss": "nll", "fresh_batches": True}})
    drawn = by_hand(trial, data, {}, lambda draw: data.scoring_batches(trial.seed, 5, draw=draw))
    assert same(masks(trial, data), drawn)
    assert not same(drawn, by_hand(trial, data, {"fresh_batches": False}))
    assert not same(drawn, masks(FORCE, data))
