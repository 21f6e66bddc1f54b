"""Trials on a shared folder that shows late what other nodes have written: same numbers, nothing lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save
from timed_metrics import TIMED

from orchestrator.ray_driver.preflight import NodeCheck, _look
from search_spaces import Trial
from trainables.architectures import pretrained
from trainables.context import Place
from trainables.record import files
from trainables.record.event_log import FILE, read, snapshot
from trainables.run import run
from trainables.shared import masks
from trainables.shared.pretraining import WEIGHTS, trained_weights

TRIAL = Trial(dataset="digits", architecture="mlp", pruner="magnitude", compression=4, epochs=4, lr=0.05)


@pytest.fixture
def place(tmp_path):
    return Place(storage=tmp_path / "here", cache=tmp_path / "data", save_seconds=0)


def numbers(place):
    """What must be equal to the last bit, after making sure that each metric has all of its points."""
    points = {}
    for event, _ in read(place.storage / TRIAL.fingerprint):
        for key, value in event.get("metrics", {}).items():
            points.setdefault((key, event["step"]), value)
    assert {step for key, step in points if key == "train/loss"} == set(range(1, TRIAL.epochs + 1))
    return {key: n for key, n in points.items() if key[0] not in TIMED}


def after_two_epochs(place):
    """Leave a trial that stopped after its second epoch, and return its folder."""
    folder = place.storage / TRIAL.fingerprint
    assert run(TRIAL, place, lambda: folder.exists() and snapshot(folder).metrics.get("test/loss") is not None).end
    assert snapshot(folder).end is None
    return folder


@pytest.mark.parametrize("patience", [60.0, 0.0])
def test_a_trial_that_another_node_goes_on_with_has_every_epoch(place, tmp_path, late, monkeypatch, patience):
    whole = replace(place, storage=tmp_path / "whole")
    assert run(TRIAL, whole).end == "finished"
    folder = after_two_epochs(place)
    first = next(offset for event, offset in read(folder) if "train/loss" in event.get("metrics", {}))
    monkeypatch.setattr(files, "LATE_SECONDS", patience)
    looks = 14 if patience else 10**6  # with no patience, as long as the trial runs
    late.show(folder / FILE, *[first - 40] * looks)
    assert run(TRIAL, place).end == "finished"
    late.show(folder / FILE)
    assert numbers(place) == numbers(whole)
    epochs = [e["step"] for e, _ in read(folder) if "train/loss" in e.get("metrics", {})]
    assert (len(epochs) == TRIAL.epochs) is bool(patience)  # seen in time, no epoch is computed twice


def test_given_masks_that_appear_late_are_waited_for(place, late):
    content = save({"fc.weight": torch.tensor([True, False])})
    name = masks.digest(content)
    masks.provide(name, place, lambda: content)
    late.show(place.masks / f"{name}.safetensors", -1)
    assert masks.load(name, place, torch.device("cpu"))["fc.weight"].tolist() == [True, False]


def test_given_weights_that_appear_late_are_waited_for(tmp_path, late):
    file = tmp_path / "0123.safetensors"
    file.write_bytes(save({"fc.weight": torch.ones(2)}))
    late.show(file, -1)
    assert pretrained.state("sha256:0123.safetensors", "", tmp_path)["fc.weight"].tolist() == [1, 1]


def test_dense_weights_that_appear_late_are_not_trained_again(place, late):
    dense = TRIAL.model_copy(update={"pruner": "dense", "compression": 1})
    assert run(dense, place).end == "finished"
    late.show(place.storage / dense.fingerprint / WEIGHTS, -1)
    assert trained_weights(dense, place.storage, lambda stage: pytest.fail("trained again"))


def test_a_node_that_sees_the_drivers_file_late_is_not_refused(tmp_path):
    file = tmp_path / ".seen"
    file.write_text("token")
    looks = iter(["No such file or directory", ""])
    check = NodeCheck(file, "token", tmp_path, "", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.ray_driver.preflight._content", lambda path: next(looks, "token"))
        assert _look._function(check).read == "token"
