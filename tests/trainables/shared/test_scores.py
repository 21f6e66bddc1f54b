"""Scores computed once for all compressions: the same masks and the same record, to the bit."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from search_spaces import Trial
from trainables import phases
from trainables.record.event_log import read
from trainables.run import run
from trainables.shared import scores
from trainables.shared.scores import shared


def trial(**fields):
    asked = {"dataset": "digits", "architecture": "conv", "pruner": "snip", "compression": 4, "epochs": 0} | fields
    return Trial(**asked)


def test_what_they_depend_on():
    one = trial()
    assert one.scoring == trial(compression=10).scoring == trial(compression=1, kappa=0.5).scoring
    others = [trial(seed=1), trial(architecture="mlp"), trial(samples_per_class=3), trial(mode="train")]
    assert len({one.scoring, *(other.scoring for other in others)}) == 5
    rounds = trial(iterations=3, schedule="exponential")
    assert not any(
        none.scoring for none in (rounds, Trial(dataset="digits", architecture="conv"), trial(mask="f" * 64))
    )


@pytest.mark.parametrize("fields", [{}, {"ablation": "invert"}, {"pruner": "lamp"}, {"pruner": "synflow"}])
def test_shared_is_recomputed(place, tmp_path, monkeypatch, fields):
    trials = [trial(compression=compression, iterations=1, **fields) for compression in (4, 20)]
    together = replace(place, storage=tmp_path / "together", shared_scores=frozenset({trials[0].scoring}))
    scored, kinds = [], set()

    def counted(trial, place, model, compute):
        scores = shared(trial, place, model, lambda: scored.append(trial) or compute())
        kinds.update(score.dtype for score in scores.values())
        return scores

    monkeypatch.setattr(phases, "shared", counted)
    for one in trials:
        assert run(one, together).end == "finished"
    assert scored == trials[:1]
    for one in trials:
        assert run(one, replace(place, storage=tmp_path / "alone")).end == "finished"
    assert scored == [*trials[:1], *trials] and not (tmp_path / "alone" / "scores").exists()
    assert len(kinds) == 1  # some are float64
    for one in trials:
        left, right = (tmp_path / name / one.fingerprint for name in ("together", "alone"))
        masks = load_file(left / "masks.safetensors")
        assert all(torch.equal(masks[name], mask) for name, mask in load_file(right / "masks.safetensors").items())
        assert json.loads((left / "layers.json").read_text()) == json.loads((right / "layers.json").read_text())
        assert zeros(left) == zeros(right)


def zeros(folder):
    return [event["metrics"]["prune/zero_scores"] for event, _ in read(folder) if "prune/zero_scores" in str(event)]


def test_damaged_ones_are_computed_again(place):
    one = trial()
    place = replace(place, shared_scores=frozenset({one.scoring}))
    place.scores.mkdir()
    (place.scores / f"{one.scoring}-cpu.safetensors").write_bytes(b"half a file")
    assert run(one, place).end == "finished"
    assert load_file(place.scores / f"{one.scoring}-cpu.safetensors")


def test_kinds_of_devices_never_select_by_each_others(place, monkeypatch):
    one = trial()
    place = replace(place, shared_scores=frozenset({one.scoring}))
    names = {
        "cpu": "cpu",
        "NVIDIA H200": "NVIDIA-H200",
        "NVIDIA GeForce RTX 4090 (24/GB)": "NVIDIA-GeForce-RTX-4090-24-GB",
    }
    model = nn.Linear(2, 3)
    for value, name in enumerate(names):
        monkeypatch.setattr(scores, "kind_of_device", lambda device, name=name: names[name])
        for found in (value, -1):  # the second time they lie there
            kept = shared(one, place, model, lambda found=found: {"weight": torch.full((3, 2), float(found))})
            assert kept["weight"].eq(value).all()
    assert {file.name for file in place.scores.glob("*.safetensors")} == {
        f"{one.scoring}-{slug}.safetensors" for slug in names.values()
    }


def test_names_of_kinds(monkeypatch):
    assert scores.kind_of_device(torch.device("cpu")) == "cpu"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA GeForce RTX 4090 (24/GB)")
    assert scores.kind_of_device(torch.device("cuda", 0)) == "NVIDIA-GeForce-RTX-4090-24-GB"
