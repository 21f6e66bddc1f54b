"""What all methods that prune during training have in common: exact counts, weights at zero, averages, teams."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from search_spaces import Trial
from trainables.run import run
from trainables.sparse_training import DYNAMICS

SMALL = {"dataset": "digits", "architecture": "conv", "epochs": 2, "batch_size": 64, "lr": 0.05}
SCOPES = {"set": "erk", "rigl": "erk", "srigl": "erk", "gra-net": "erk", "top-kast": "layer", "edge-popup": "layer"}


def made(name, **fields):
    every = {"gradual": {"schedule": "cubic", "iterations": 10}, "ac-dc": {}, "str": {}, "movement": {}}.get(
        name, {"options": {"interval": 5}}
    )
    return Trial(**SMALL | {"pruner": name, "scope": SCOPES.get(name, "global"), "compression": 8} | every | fields)


@pytest.mark.parametrize("fields", [{}, {"ema": 0.9, "optimizer": "adam", "lr": 0.002}], ids=["sgd", "adam, averaged"])
@pytest.mark.parametrize("name", DYNAMICS)
def test_exactly_so_many_weights_are_left_and_the_others_are_zero(name, fields, place):
    trial = made(name, **fields)
    assert run(trial, place).error == ""
    folder = place.storage / trial.fingerprint
    masks, weights = (load_file(folder / f"{file}.safetensors") for file in ("masks", "weights"))
    sizes = {key: mask.numel() for key, mask in masks.items()}

    def left(n):
        return n - math.floor((1 - 1 / 8) * n)

    counts = {key: int(mask.sum()) for key, mask in masks.items()}
    if SCOPES.get(name) == "layer":
        assert counts == {key: left(n) for key, n in sizes.items()}
    else:
        assert sum(counts.values()) == left(sum(sizes.values()))
    assert all((weights[key][~mask.bool()] == 0).all() for key, mask in masks.items())
    assert all(torch.isfinite(weight).all() for weight in weights.values())
