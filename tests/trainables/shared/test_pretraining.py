"""Trials that prune trained weights: one dense training for all of them, by whoever comes first."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from pruners import select
from search_spaces import Trial, stage
from trainables.record import files
from trainables.record.event_log import ended, read
from trainables.run import run
from trainables.shared.pretraining import stored
from trainables.training import trainer

AFTER = Trial(
    dataset="digits", architecture="mlp", pruner="magnitude", pretrain_epochs=2, epochs=1, lr=0.05, batch_size=64
)
DENSE = stage(AFTER)


@pytest.fixture
def trainings(monkeypatch):
    """The epochs of every training that was begun."""
    seen, train = [], trainer.train
    monkeypatch.setattr(trainer, "train", lambda *a, **k: seen.append(a[0].trial.epochs) or train(*a, **k))
    return seen


def at(compression, **fields):
    return AFTER.model_copy(update={"compression": compression, **fields})


def tensors(place, trial, name):
    return load_file(place.storage / trial.fingerprint / f"{name}.safetensors")


def test_three_compressions_share_one_dense_training(place, trainings):
    for compression in (2, 4, 8):
        assert run(at(compression), place).end == "finished"
    assert trainings == [2, 1, 1, 1]
    assert run(DENSE, place).end == "finished"  # which as a cell of its own would be done
    assert trainings == [2, 1, 1, 1]


def test_the_trained_weights_are_scored_and_fine_tuned(place):
    idle = at(4, epochs=0)
    run(idle, place)
    trained, masks = tensors(place, DENSE, "weights"), tensors(place, idle, "masks")
    expected = select({name: trained[name].abs() for name in masks}, 1 / 4)
    assert all(torch.equal(mask, expected[name]) for name, mask in masks.items())
    weights = tensors(place, idle, "weights")
    assert all(torch.equal(w, trained[name] * masks.get(name, 1)) for name, w in weights.items())


def test_alone_and_shared_the_numbers_are_the_same(place, tmp_path):
    other = replace(place, storage=tmp_path / "other")
    run(DENSE, place)
    run(at(4), place)
    run(at(4), other)
    for name in ("masks", "weights"):
        here, there = tensors(place, at(4), name), tensors(other, at(4), name)
        assert all(torch.equal(here[key], there[key]) for key in here)


def test_large_dense_weights_are_kept_but_not_sent(place):
    run(DENSE, replace(place, weights_mb=0))
    assert stored(DENSE, place.storage)
    artifacts = [event.get("artifact") for event, _ in read(place.storage / DENSE.fingerprint)]
    assert "weights.safetensors" not in artifacts


def test_dense_weights_that_are_gone_are_trained_once_more(place, trainings, monkeypatch):
    monkeypatch.setattr(files, "LATE_SECONDS", 0.1)  # for which a folder may show a file late
    run(at(2), place)
    (place.storage / DENSE.fingerprint / "weights.safetensors").unlink()
    run(at(4), place)
    run(at(8), place)
    assert trainings == [2, 1, 2, 1, 1]
    points = [(k, e["step"]) for e, _ in read(place.storage / DENSE.fingerprint) for k in e.get("metrics", {})]
    assert len(points) == len(set(points))


def test_damaged_dense_weights_are_trained_once_more(place, trainings):
    run(at(2), place)
    (place.storage / DENSE.fingerprint / "weights.safetensors").write_bytes(b"half")
    assert run(at(4), place).end == "finished"
    assert trainings == [2, 1, 2, 1]


def test_a_stage_that_failed_fails_its_trials_and_is_not_tried_by_each(place, trainings):
    bad = [at(compression, lr=1e20) for compression in (2, 4)]
    errors = [run(trial, place).error for trial in bad]
    assert all(
        "StageError: the dense training mlp digits dense s0 of 2 epochs failed: TrainingError" in e for e in errors
    )
    assert trainings == [2]
    assert ended(place.storage / bad[0].fingerprint) == "failed"


def test_reinitialize_changes_the_weights_and_not_the_masks(place):
    plain, other = at(4, epochs=0), at(4, epochs=0, ablation="reinitialize")
    run(plain, place)
    run(other, place)
    masks = tensors(place, plain, "masks")
    assert all(torch.equal(mask, tensors(place, other, "masks")[name]) for name, mask in masks.items())
    before, after = tensors(place, plain, "weights"), tensors(place, other, "weights")
    for name, mask in masks.items():
        assert (after[name][~mask] == 0).all()
        assert (before[name] != after[name])[mask].float().mean() > 0.99
