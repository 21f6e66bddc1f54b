"""Two workers on a trial whose masks or weights a pruner changes: the masks and numbers of one worker."""

from __future__ import annotations

from dataclasses import replace

import pytest
from safetensors.torch import load_file

from search_spaces import Trial
from trainables.record.event_log import read
from trainables.run import run, run_together

BASE = {"dataset": "digits", "architecture": "conv", "compression": 4, "epochs": 2, "lr": 0.02, "batch_size": 64}
PRUNERS = {
    "str": {"options": {"initial": -3.0}, "weight_decay": 1e-3},
    "ac-dc": {},
    "top-kast": {"scope": "layer", "options": {"interval": 5}},
    "gra-net": {"scope": "erk", "schedule": "cubic", "iterations": 4, "options": {"interval": 5}},
    "srigl": {"scope": "erk", "options": {"interval": 5}},
    "movement": {"scope": "layer"},
    "edge-popup": {"scope": "layer"},
    "obs": {"options": {"block": 8}, "samples_per_class": 2, "pretrain_epochs": 1},
    "sparsegpt": {"scope": "layer", "samples_per_class": 2, "pretrain_epochs": 1},
    "magnitude": {"rand_augment": 9, "random_erasing": 0.25, "mixup": 0.8, "cutmix": 1.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRUNERS)
def test_two_workers_compute_what_one_does(name, place):
    trial = Trial(**BASE | {"pruner": name, **PRUNERS[name]})
    alone, together = (replace(place, storage=place.storage / word) for word in ("alone", "together"))
    assert run(trial, alone).error == ""
    assert run_together(trial, replace(together, workers=2)).error == ""
    found = []
    for where in (alone, together):
        events = [event for event, _ in read(where.storage / trial.fingerprint)]
        points = {(key, e["step"]): value for e in events for key, value in e.get("metrics", {}).items()}
        found.append({key: value for key, value in points.items() if key[0] == "train/loss"})
    assert found[0] and found[1] == pytest.approx(found[0], rel=1e-3)
    masks = [load_file(at.storage / trial.fingerprint / "masks.safetensors") for at in (alone, together)]
    differing = sum(int((masks[0][key] != masks[1][key]).sum()) for key in masks[0])
    total = sum(mask.numel() for mask in masks[0].values())
    assert sum(int(mask.sum()) for mask in masks[0].values()) == sum(int(mask.sum()) for mask in masks[1].values())
    assert differing <= 0.002 * total  # weights whose float32 scores lie within rounding of the threshold
