"""What pruning bought, measured; and that nothing of it can cost a trial its result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pruners import compaction, prune
from trainables import profiling
from trainables.architectures import build
from trainables.profiling import collapsed, compacted_metrics, macs, paths
from trainables.training import compacted

SHAPE = (1, 8, 8)


class Unfollowed(nn.Module):
    """Its forward depends on the data, and it takes part without being called."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 3)

    def forward(self, x):
        return self.layer(x.flatten(1)) if x.sum() >= 0 else self.layer(-x.flatten(1))


def test_filters_make_it_smaller_by_what_was_asked():
    model = build("conv", SHAPE, 10, seed=0)
    masks = prune(model, "magnitude", 8, granularity="filter")
    whole, _ = compacted_metrics(model, {}, SHAPE)
    small, reason = compacted_metrics(model, masks, SHAPE)
    assert not reason
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert 0 < small["model/params_compacted"] - kept <= 32 + 32 + 10  # the biases
    assert whole["model/macs_compacted"] == sum(map(sum, macs(model, SHAPE).values()))
    for metric in ("model/macs_compacted", "model/peak_mb", "model/file_mb"):
        assert 0 < small[metric] < whole[metric]
    assert small["model/latency_inputs"] == whole["model/latency_inputs"] == 64
    assert small["model/speedup"] > 2 * whole["model/speedup"]  # an eighth of the weights is left


def test_paths_count_what_takes_part():
    model = build("mlp", SHAPE, 10, seed=0)
    masks = prune(model, "random", 2)
    masks["3.weight"][:] = False
    assert paths(model, {}, SHAPE) == ({"prune/effective_density": 1.0, "prune/dead_weights": 0}, "")
    assert paths(model, masks, SHAPE) == ({"prune/effective_density": 0.0, "prune/dead_weights": 0}, "")


def test_an_empty_layer_collapses_only_what_has_no_way_round():
    for name, layer, expected in (("mlp", "3", True), ("resnet20", "blocks.3.shortcut.0", False)):
        model = build(name, (3, 8, 8), 10, seed=0)
        masks = prune(model, "random", 2)
        assert not collapsed(model, masks, (3, 8, 8))
        masks[f"{layer}.weight"][:] = False
        assert collapsed(model, masks, (3, 8, 8)) is expected


def test_where_paths_cannot_be_told_any_empty_layer_counts():
    class Pairs(Unfollowed):
        def forward(self, x):
            first, second = x.chunk(2)  # one input alone is not enough
            return super().forward(torch.cat([first, second]))

    model = Pairs()
    masks = prune(model, "random", 4)
    assert "ValueError" in paths(model, masks, SHAPE)[1]
    assert not collapsed(model, masks, SHAPE)
    assert collapsed(model, {"layer.weight": torch.zeros(3, 64, dtype=torch.bool)}, SHAPE)


def test_what_cannot_be_followed_is_measured_as_it_is():
    model = Unfollowed()
    found, reason = compacted_metrics(model, prune(model, "random", 4), SHAPE)
    assert "cannot trace" in reason
    assert found["model/params_compacted"] == 64 * 3 + 3


@pytest.mark.parametrize("part", ["compact", "effective"])
def test_a_failure_is_a_reason(part, monkeypatch):
    def fail(*_):
        raise RuntimeError("something\nodd")

    monkeypatch.setattr(profiling, part, fail)
    model = build("conv", SHAPE, 10, seed=0)
    (found, reason) = compacted_metrics(model, {}, SHAPE) if part == "compact" else paths(model, {}, SHAPE)
    assert reason == "RuntimeError: something odd"
    assert bool(found) is (part == "compact")


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError, torch.AcceleratorError])
def test_a_failure_of_the_machine_is_no_reason(monkeypatch, error):
    """Else the same trial would be recorded, or trained, in another way where memory is short."""

    def fail(*_, **__):
        raise error("of the machine")

    model = build("conv", SHAPE, 10, seed=0)
    whole = prune(model, "random", 2)
    for where, part, ask in (
        (profiling, "effective", paths),
        (profiling, "connected", collapsed),
        (profiling, "compact", compacted_metrics),
        (compacted, "compact", compacted.smaller),
        (compaction, "call", compacted.smaller),
    ):
        with monkeypatch.context() as patched, pytest.raises(error):
            patched.setattr(where, part, fail)
            ask(model, whole, SHAPE)


def test_the_model_is_left_as_it_was():
    model = build("resnet20", (3, 8, 8), 10, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    masks = prune(model, "random", 50)
    paths(model, masks, (3, 8, 8))
    compacted_metrics(model, masks, (3, 8, 8))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
