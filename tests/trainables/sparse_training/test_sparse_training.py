"""Masks that change during training: where weights are grown, how many there are, when they go."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from search_spaces import Trial
from trainables.run import run
from trainables.sparse_training import Dynamics, dynamics
from trainables.sparse_training.set_rigl import Regrowth, exchange
from trainables.training import trainer
from trainables.training.step import Masked

SMALL = {"dataset": "digits", "architecture": "mlp", "epochs": 4, "batch_size": 64, "lr": 0.05, "compression": 8}
RIGL = Trial(**SMALL, pruner="rigl", scope="erk", options={"interval": 5})
SET = Trial(**SMALL, pruner="set", scope="erk", options={"interval": 5})
GRADUAL = Trial(**SMALL, pruner="gradual", schedule="cubic", iterations=10)
STEPS = 4 * 23  # 1437 images in batches of 64


@pytest.fixture
def updates(monkeypatch):
    """Every update of a training: the step, and the masks before and after it."""
    seen = []

    def watched(trial, steps_per_epoch):
        made = dynamics(trial, steps_per_epoch)
        if made is not None:
            update = made.update

            def told(step, masks, model):
                new = update(step, masks, model)
                if new is not None:
                    seen.append((step, dict(masks), new))
                return new

            object.__setattr__(made, "update", told)
        return made

    monkeypatch.setattr(trainer, "dynamics", watched)
    return seen


def counts(masks):
    return [int(mask.sum()) for mask in masks.values()]


def true(*values):
    return torch.tensor(values, dtype=torch.bool)


def test_rigl_grows_where_the_gradient_is_largest():
    mask, weight = true(1, 1, 1, 1, 0, 0, 0, 0), torch.tensor([0.9, 0.1, -0.8, -0.2, 0, 0, 0, 0])
    slope = torch.tensor([9, 0.0, 9, 0.0, 0.3, 0.7, 0.1, 0.6])
    # Half of four go: those of size 0.1 and 0.2. Among all that are not kept 0.7 and 0.6 are the largest slopes.
    assert exchange(mask, weight, slope, 0.5).tolist() == true(1, 0, 1, 0, 0, 1, 0, 1).tolist()


def test_what_was_just_dropped_may_come_back():
    mask, weight = true(1, 1, 0), torch.tensor([0.9, 0.1, 0.0])
    assert exchange(mask, weight, torch.tensor([0.0, 5.0, 1.0]), 0.5).tolist() == [True, True, False]


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kept", [0, 1, 7, 10])
def test_as_many_are_grown_as_are_dropped(fraction, kept):
    mask = torch.arange(10).view(2, 5) < kept
    ties = torch.zeros(2, 5)
    assert int(exchange(mask, ties, ties, fraction).sum()) == kept


def test_the_dropped_fraction_falls_by_a_cosine_and_ends():
    rule = Regrowth(compression=2, interval=10, end=40, drop=0.4, merits=lambda step, model: {})
    # Evci et al. 2020: alpha / 2 (1 + cos(pi t / T_end))
    fractions = [rule.fraction(step) for step in (5, 10, 20, 30, 40, 50)]
    assert fractions == pytest.approx([0, 0.2 * (1 + math.sqrt(0.5)), 0.2, 0.2 * (1 - math.sqrt(0.5)), 0, 0])


@pytest.mark.parametrize("trial", [SET, RIGL], ids=["set", "rigl"])
def test_every_layer_keeps_its_count_at_every_update(trial, place, updates):
    assert run(trial, place).error == ""
    assert [step for step, _, _ in updates] == list(range(5, round(0.75 * STEPS), 5))
    assert all(counts(before) == counts(after) == counts(updates[0][1]) for _, before, after in updates)
    assert all(not torch.equal(before["1.weight"], after["1.weight"]) for _, before, after in updates)
    folder = place.storage / trial.fingerprint
    recorded, weights = (load_file(folder / f"{name}.safetensors") for name in ("masks", "weights"))
    n = sum(mask.numel() for mask in recorded.values())
    assert sum(counts(recorded)) == n - math.floor((1 - 1 / 8) * n)
    assert all(torch.equal(mask, updates[-1][2][name]) for name, mask in recorded.items())
    assert all((weights[name][~mask] == 0).all() for name, mask in recorded.items())


def test_gradual_follows_the_cubic_and_ends_as_asked(place, updates):
    assert run(GRADUAL, place).error == ""
    assert [step for step, _, _ in updates] == [round(0.075 * t * STEPS) for t in range(1, 11)]
    n = sum(mask.numel() for mask in updates[0][1].values())
    assert sum(counts(updates[0][1])) == n  # dense before
    for t, (_, before, after) in enumerate(updates, 1):
        density = 1 / 8 + 7 / 8 * (1 - t / 10) ** 3  # Zhu and Gupta 2017, equation 1, as densities
        assert sum(counts(after)) == pytest.approx(n * density, abs=1)
        assert not any((after[name] & ~before[name]).any() for name in before)
    recorded = load_file(place.storage / GRADUAL.fingerprint / "masks.safetensors")
    assert sum(counts(recorded)) == n - math.floor((1 - 1 / 8) * n)


def test_fewer_steps_than_updates_still_end_as_asked():
    made = dynamics(GRADUAL.model_copy(update={"epochs": 1, "iterations": 100}), 3)
    assert list(made.density_after) == [1, 2]
    assert made.density_after[2] == 1 / 8


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_grown_weights_start_at_zero_without_momentum(kind):
    layer = nn.Linear(4, 1, bias=False)
    make = {"sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), "adam": lambda p: torch.optim.Adam(p, 0.1)}[kind]
    optimizer, masks = make(layer.parameters()), {"weight": true(1, 1, 0, 0)[None]}

    class Swap(Dynamics):
        def update(self, step, masks, model):
            return {"weight": true(1, 0, 1, 0)[None]} if step == 3 else None

    masked = Masked(layer, optimizer, masks, Swap(), steps=0)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        masked.hold()
        masked.after_step()
    assert masks["weight"].tolist() == [[True, False, True, False]]
    assert (layer.weight[0] != 0).tolist() == [True, False, False, False]
    held = [v[0] for v in optimizer.state[layer.weight].values() if v.shape == (1, 4)]
    assert held and all(value[2] == 0 and value[0] != 0 for value in held)


def test_updates_are_rarer_than_an_epoch_only_where_epochs_are_long():
    assert dynamics(RIGL.model_copy(update={"options": {}}), 23).interval == 23
    assert dynamics(RIGL.model_copy(update={"options": {}}), 391).interval == 100


def test_growth_at_random_depends_on_seed_and_step_only():
    model = nn.Linear(5, 5)
    merits = [dynamics(t, 23).merits for t in (SET, SET, SET.model_copy(update={"seed": 1}))]
    first, again, other = (merit(7, model)["weight"] for merit in merits)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, merits[0](8, model)["weight"])


@pytest.mark.parametrize(
    ("trial", "options", "message"),
    [
        (RIGL, {"interval": 0}, "pruner rigl: interval: 0 is not allowed; it must be at least 1 step"),
        (SET, {"drop": 1.5}, "pruner set: drop: 1.5 is not allowed; it must be a fraction"),
        (GRADUAL, {"end": -0.1}, "pruner gradual: end: -0.1 is not allowed"),
        (GRADUAL, {"start": 0.8}, "pruner gradual: start: 0.8 is not allowed; it must be below end: 0.75"),
    ],
)
def test_options_that_cannot_be(trial, options, message):
    with pytest.raises(ValueError, match=message):
        dynamics(trial.model_copy(update={"options": options}), 10)


def test_updates_are_even_between_start_and_end():
    trial = GRADUAL.model_copy(update={"epochs": 4, "iterations": 4, "options": {"start": 0.25, "end": 0.75}})
    assert list(dynamics(trial, 10).density_after) == [15, 20, 25, 30]  # of 40 steps


def test_masks_may_change_at_every_step():
    assert dynamics(RIGL.model_copy(update={"options": {"interval": 1}}), 23).interval == 1


def test_of_many_equal_weights_the_later_leave():
    mask = torch.arange(2000) < 1000
    grown = exchange(mask, torch.ones(2000), torch.arange(2000.0), 0.5)
    assert grown.nonzero().flatten().tolist() == [*range(500), *range(1500, 2000)]


def test_rigl_exchanges_in_its_first_step_where_the_record_says_so(place, updates):
    # google-research/rigl d39fc7d, rigl/sparse_optimizers_base.py: the last update is taken to be -frequency at first.
    started = RIGL.model_copy(update={"epochs": 1, "options": {"interval": 10, "at_start": True}})
    run(started, place)
    first, before, after = updates[0]
    assert [step for step, _, _ in updates] == [1, 10]  # of 23 steps, until three quarters of them
    assert first == 1 and counts(before) == counts(after)
    # The smallest 30 % leave each layer; of those some may come back, by their gradient.
    for name, mask in before.items():
        assert 0 < int((mask & ~after[name]).sum()) <= 0.3 * int(mask.sum())
    updates.clear()
    run(started.model_copy(update={"options": {"interval": 10}}), place)  # a record of before there was the option
    assert [step for step, _, _ in updates] == [10]
