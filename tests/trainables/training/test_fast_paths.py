"""Fast forms of networks: proved or not used, so that a trial reports what plain training and testing give."""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from orchestrator.planning.epoch_times import trial_seconds
from pruners import prunable
from search_spaces import Trial
from tests.trainables import odd_networks
from tests.trainables.architectures.test_architecture_contract import EACH
from trainables.architectures import ARCHITECTURES, build
from trainables.datasets import DATASETS
from trainables.datasets.memory import InMemory
from trainables.randomness import seeded
from trainables.training import batch_norm, evaluation, fast_paths
from trainables.training import batch_norm as biases
from trainables.training.evaluation import foldable
from trainables.training.fast_paths import prove
from trainables.training.trainer import make_trainer

CPU = torch.device("cpu")
CODE = Path(odd_networks.__file__).read_text(encoding="utf-8")
NAMES = [name for name, made in vars(odd_networks).items() if callable(made) and name[0].islower() and name != "block"]
NAMES = [name for name in NAMES if getattr(odd_networks, name).__module__ == odd_networks.__name__]
TRAINED = [name for name in NAMES if name != "in_one_memory"]  # `build` refuses that one


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
    """Masks that leave convolutions and linear layers half of their outputs, but the last one all.

    Under weight_norm half of the inputs: a direction of zeros divided by its length is NaN in plain PyTorch.
    """
    inputs = any("original1" in name or name.endswith("weight_v") for name, _ in model.named_parameters())
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}
    for mask in list(masks.values())[:-1]:
        mask[(slice(None), slice(0, None, 2)) if inputs else slice(0, None, 2)] = False
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


@pytest.mark.zoo
@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize("name", TRAINED)
def test_a_trial_reports_what_plain_training_and_testing_give(name, side):
    trial, data = trial_of(name), images(side)
    on = make_trainer(trial, data, CPU, save_seconds=1e9)
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


def proved(name, side=16):
    shape = (3, side, side)
    return prove(partial(getattr(odd_networks, name), shape, 4), shape)


@pytest.mark.parametrize(
    ("name", "channels_last", "pairs"),
    [
        ("plain", True, [("a", "n"), ("b", "m")]),
        ("tied", True, []),
        ("in_one_memory", False, []),  # another memory format would part the two
        ("tied_norms", True, []),
        ("hooked", True, [("b", "m")]),
        ("hooked_before", True, [("b", "m")]),
        ("hooked_norm", True, [("a", "n")]),
        ("hooked_backward", True, [("a", "n")]),
        ("weight_normed", True, []),  # channels are not followed through weights that are computed
        ("spectral", True, []),
        ("twice", True, [("a", "n")]),
        ("two_modes", True, []),
        ("own_layer", True, []),
        ("own_forward", True, []),
        ("without_statistics", True, [("b", "m")]),
        ("cumulative", True, [("a", "n"), ("b", "m")]),
    ],
)
def test_networks_keep_the_forms_that_are_right_for_them(name, channels_last, pairs):
    fast = proved(name)
    assert fast.channels_last is fast.quick is channels_last
    assert list(fast.folded) == list(fast.still) == pairs
    assert not fast.tag


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("view_after_convolution", "channels-last: RuntimeError: view size is not compatible"),
        ("strided", "channels-last: logits in train mode differs by"),
        ("three_dimensions", "channels-last: RuntimeError: required rank 4"),
        ("dropped_by_hand", "channels-last: logits in train mode differs by"),
        ("remembering", "folded norms: RuntimeError: Only Tensors created explicitly"),
    ],
)
def test_what_a_network_cannot_have_is_off_and_said(name, tag):
    assert proved(name).tag.startswith(tag)


def _misfolded(model, pairs):
    made = evaluation.folded(model, pairs)
    if pairs:
        made.head.bias.data += 1e-5
    return made


@contextmanager
def _misnormed(network):
    with batch_norm.quick_norms(network):
        network.n.eps *= 1.1
        yield


@contextmanager
def _misheld(network, pairs):
    handles = [network.get_submodule(norm).bias.register_hook(lambda slope: slope * 1.001) for _, norm in pairs]
    with biases.still_biases(network, pairs):
        yield
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(
    ("function", "form", "field", "said"),
    [
        ("folded", _misfolded, "folded", "folded norms: logits in eval mode differs by 1e-05 of"),
        ("quick_norms", _misnormed, "quick", "quick norms: logits in"),
        ("still_biases", _misheld, "still", "still biases: logits in eval mode differs by"),
    ],
)
def test_a_form_that_is_slightly_wrong_is_off_and_the_others_stay(monkeypatch, function, form, field, said):
    right = proved("plain")
    monkeypatch.setattr(fast_paths, function, form)
    fast = proved("plain")
    assert fast.tag.startswith(said)
    assert replace(fast, off={}) == replace(right, **{field: getattr(fast_paths.PLAIN, field)})


def test_a_network_that_is_never_the_same_is_used_as_it_is():
    calls = []

    def make():
        calls.append(1)
        model = odd_networks.plain((3, 16, 16), 4)
        model.head.register_forward_hook(lambda layer, given, made: made * len(calls))
        return model

    fast = prove(make, (3, 16, 16))
    assert replace(fast, off={}) == fast_paths.PLAIN
    assert fast.tag.startswith("all: the plain network gives no reliable result to compare with: logits")


def test_a_proof_leaves_no_trace_and_depends_on_none():
    trial = trial_of("dropped")
    first = fast_paths.fast_paths(trial, (3, 16, 16), 10, CPU)
    fast_paths._proved.cache_clear()
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert fast_paths.fast_paths(trial, (3, 16, 16), 10, CPU) == first
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
    again = fast_paths.fast_paths(trial.model_copy(update={"compression": 4.0, "pruner": "snip"}), (3, 16, 16), 10, CPU)
    assert again == first
    assert fast_paths._proved.cache_info().misses == 1


@pytest.mark.parametrize("name", EACH)
def test_registered_architectures_have_all_forms(name):
    """So their numbers are what they were."""
    side = max(16, ARCHITECTURES[name].min_size)
    make = partial(build, name, (3, side, side), 10, 0)
    fast = prove(make, (3, side, side))
    pairs = tuple(foldable(make()))
    count = sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in make().modules())
    assert fast == fast_paths.FastPaths(name != "mlp", pairs, pairs, count > 0)
    assert len(pairs) == count


def test_a_plan_knows_the_cost_of_a_network_that_runs_in_one_memory_format():
    trial = trial_of("view_after_convolution")
    assert trial_seconds([trial], {})[trial.fingerprint] > 0
