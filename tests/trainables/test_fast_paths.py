"""Fast forms of networks: proved or not used, so that a trial reports what plain training and testing give."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pruners import prunable
from search_spaces import Trial
from tests.trainables import odd_networks
from tests.trainables.test_architecture_contract import EACH, shape_of
from trainables import fast_paths
from trainables.architectures import build
from trainables.bench import bench
from trainables.datasets import DATASETS
from trainables.datasets.memory import InMemory
from trainables.fast_paths import prove
from trainables.folding import foldable
from trainables.randomness import seeded

CPU = torch.device("cpu")
CODE = Path(odd_networks.__file__).read_text(encoding="utf-8")
NAMES = [name for name, made in vars(odd_networks).items() if callable(made) and name[0].islower() and name != "block"]
NAMES = [name for name in NAMES if getattr(odd_networks, name).__module__ == odd_networks.__name__]


def trial_of(name, **fields):
    return Trial(
        dataset="synthetic-32",
        architecture=f"odd_networks.py:{name}",
        architecture_code=CODE,
        epochs=1,
        batch_size=16,
        lr=0.05,
        weight_decay=1e-2,
        **fields,
    )


def images(side):
    """48 drawn images of four classes to train on, and 40 to test on."""
    spec = replace(DATASETS["synthetic-32"], input_shape=(3, side, side))
    draw = torch.Generator().manual_seed(1)
    train, test = (torch.randint(256, (n, 3, side, side), generator=draw, dtype=torch.uint8) for n in (48, 40))
    classes, rows = torch.arange(48) % 4, torch.arange(48)
    return InMemory(spec, classes, classes[:40], rows, rows[:0], train_x=train, test_x=test)


def without_every_other_filter(model):
    """Masks that leave convolutions and linear layers half of their outputs, but the last one all."""
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}
    for mask in list(masks.values())[:-1]:
        mask[::2] = False
    return {name: mask for name, mask in masks.items() if name in dict(model.named_parameters())}


def plainly(trial, data, masks):
    """Train and test without any of our machinery; return the losses."""
    model = build(trial.network, data.input_shape, data.num_classes, trial.seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=trial.lr, momentum=trial.momentum, weight_decay=trial.weight_decay
    )
    weights = dict(model.named_parameters())

    def hold():
        with torch.no_grad():
            for name, mask in masks.items():
                weights[name].mul_(mask)

    hold()
    model.train()
    total = 0.0
    with seeded(trial.seed, "dropout", 1):
        for x, y in data.train_batches(trial.seed, 1, trial.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            hold()
            total += loss.item() * len(y) / 48
    model.eval()
    with torch.no_grad():
        x, y = map(torch.cat, zip(*data.test_batches(), strict=True))
        return {"train/loss": total, "test/loss": F.cross_entropy(model(x), y).item()}, model.state_dict()


@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize("name", NAMES)
def test_a_trial_reports_what_plain_training_and_testing_give(name, side):
    trial, data = trial_of(name), images(side)
    on = bench(trial, data, CPU, save_seconds=1e9)
    for masks in ({}, without_every_other_filter(on.model)):
        on.restart()
        reported, told = [], {}
        on.train(
            dict(masks),
            state=None,
            save=lambda state: None,
            report=lambda metrics, epoch: reported.append(metrics),  # noqa: B023
            tell=told.__setitem__,
        )
        expected, state = plainly(trial, data, masks)
        for key, value in expected.items():
            assert reported[0][key] == pytest.approx(value, rel=2e-4), (key, on.fast, told)
        for key, value in state.items():
            if told.get("trained", "").startswith("compacted") and "running" in key:
                continue  # of removed channels they are nobody's
            torch.testing.assert_close(on.model.state_dict()[key], value, rtol=1e-3, atol=1e-4)
