"""Scores computed once for all compressions: the same masks and the same record, to the bit."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from search_spaces import Trial
from trainables import computation
from trainables.outbox import read
from trainables.run import run
from trainables.scores import shared


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

    monkeypatch.setattr(computation, "shared", counted)
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
    (place.scores / f"{one.scoring}.safetensors").write_bytes(b"half a file")
    assert run(one, place).end == "finished"
    assert load_file(place.scores / f"{one.scoring}.safetensors")
