"""Levels of train, prune and rewind: nested masks, exact counts, the early weights back, the same bits always."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from search_spaces import Trial, stage
from trainables.record import checkpoint
from trainables.record.event_log import read
from trainables.run import run
from trainables.training import iterative, trainer

IMP = Trial(
    dataset="digits", architecture="mlp", pruner="imp", compression=8, levels=3, epochs=3, lr=0.05, batch_size=64
)
N = 64 * 100 + 4 * 100 * 100 + 100 * 10


@pytest.fixture
def trainings(monkeypatch):
    """What each training of sparse weights began with: the weights, once pruned, and the masks."""
    seen, train = [], trainer.Trainer.train

    def watched(on, masks, *, state, **rest):
        if masks:
            start = state["model"] if state else {k: v.clone() for k, v in on.model.state_dict().items()}
            seen.append((start, masks, state))
        return train(on, masks, state=state, **rest)

    monkeypatch.setattr(trainer.Trainer, "train", watched)
    return seen


def metrics(place, trial, key):
    events = [event for event, _ in read(place.storage / trial.fingerprint)]
    return {e["step"]: e["metrics"][key] for e in events if key in e.get("metrics", {})}


def test_masks_are_nested_and_counts_exact(place, trainings):
    assert run(IMP, place).end == "finished"
    masks = [masks for _, masks, _ in trainings]
    kept = [sum(int(mask.sum()) for mask in level.values()) for level in masks]
    assert kept == [N - math.floor((1 - 8 ** (-level / 3)) * N) for level in (1, 2, 3)]
    for wider, narrower in pairwise(masks):
        assert not any((narrower[name] & ~wider[name]).any() for name in wider)
    recorded = load_file(place.storage / IMP.fingerprint / "masks.safetensors")
    assert all(torch.equal(mask, recorded[name]) for name, mask in masks[-1].items())


def test_every_level_begins_with_the_weights_the_network_was_built_with(place, trainings):
    run(IMP, place)
    idle = Trial(dataset="digits", architecture="mlp", epochs=0)
    run(idle, place)
    built = load_file(place.storage / idle.fingerprint / "weights.safetensors")
    for start, _, _ in trainings:
        assert all(torch.equal(start[name], weight) for name, weight in built.items())


def test_rewound_weights_are_those_of_the_dense_training_at_that_epoch(place, trainings, monkeypatch):
    trial = IMP.model_copy(update={"rewind_epoch": 1, "lr_schedule": "cosine"})
    early, dense, train = {}, stage(trial), trainer.train

    def watched(training, data, callbacks, until):
        def told(values, epoch):
            if training.trial.fingerprint == dense.fingerprint and epoch == 1:
                early.update({k: v.clone() for k, v in training.model.state_dict().items()})
            callbacks.report(values, epoch)

        return train(training, data, replace(callbacks, report=told), until)

    monkeypatch.setattr(trainer, "train", watched)
    run(trial, place)
    assert len(trainings) == 3
    for start, _, state in trainings:
        assert all(torch.equal(start[name], weight) for name, weight in early.items())
        assert state["progress"] == {"epoch": 1}
        assert state["scheduler"]["last_epoch"] == 1
    assert list(metrics(place, trial, "test/top1")) == [2, 3]  # the sparse network's own epochs
    assert not checkpoint.generations(place.storage / trial.fingerprint / iterative.REWIND)


def test_the_trained_weights_are_scored(place, trainings):
    once = IMP.model_copy(update={"levels": 1})
    run(once, place)
    trained = load_file(place.storage / stage(once).fingerprint / "weights.safetensors")
    ((_, masks, _),) = trainings
    kept = torch.cat([trained[name][mask].abs() for name, mask in masks.items()])
    dropped = torch.cat([trained[name][~mask].abs() for name, mask in masks.items()])
    assert kept.min() >= dropped.max()


def test_each_level_leaves_a_point_of_the_curve(place):
    run(IMP, place)
    assert list(metrics(place, IMP, "level/compression").values()) == pytest.approx([1, 2, 4, 8])
    dense = metrics(place, stage(IMP), "final/top1")[0]
    assert metrics(place, IMP, "level/top1")[0] == dense
    assert metrics(place, IMP, "level/top1")[3] == metrics(place, IMP, "final/top1")[0]


@pytest.mark.parametrize("pruner", ["snip", "synflow", "random"])
def test_any_score_goes_in_levels(pruner, place, trainings):
    trial = IMP.model_copy(update={"pruner": pruner, "levels": 2, "epochs": 1, "schedule": "oneshot"})
    assert run(trial, place).error == ""
    (_, first, _), (_, second, _) = trainings
    assert not any((second[name] & ~first[name]).any() for name in first)


@pytest.mark.parametrize("ablation", ["shuffle", "invert", "reinitialize"])
def test_ablations_of_the_last_level(ablation, place):
    plain = IMP.model_copy(update={"levels": 2, "epochs": 1})
    other = plain.model_copy(update={"ablation": ablation})
    assert run(plain, place).error == run(other, place).error == ""
    masks, others = (load_file(place.storage / t.fingerprint / "masks.safetensors") for t in (plain, other))
    same = [torch.equal(mask, others[name]) for name, mask in masks.items()]
    assert all(same) if ablation == "reinitialize" else not any(same)
    if ablation == "shuffle":
        assert [int(m.sum()) for m in masks.values()] == [int(m.sum()) for m in others.values()]
