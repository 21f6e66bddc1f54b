"""Costs that a network does not let itself be measured of: absent, with a reason, and the trial keeps its accuracy."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from search_spaces import Trial
from trainables.profiling import Unmeasured, compacted_metrics, file_mb, own_memory, peak_mb
from trainables.record.event_log import read
from trainables.run import run

NETS = '''
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm


def _plain(shape, classes, wrap=lambda layer: layer):
    return nn.Sequential(
        wrap(nn.Conv2d(shape[0], 8, 3)), nn.ReLU(), wrap(nn.Conv2d(8, 8, 3)), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )


def plain(shape, classes):
    return _plain(shape, classes)


def frozen(shape, classes):
    model = _plain(shape, classes)
    model[0].requires_grad_(False)
    return model


def tied(shape, classes):
    model = nn.Sequential(nn.Conv2d(shape[0], 8, 3), nn.ReLU(), _plain((8, *shape[1:]), 8), nn.Linear(8, classes))
    model[2][0] = nn.Conv2d(8, 8, 3)
    model[2][0].weight = model[2][2].weight
    return model


def spectral(shape, classes):
    return _plain(shape, classes, spectral_norm)


def normed(shape, classes):
    return _plain(shape, classes, weight_norm)


class Shy(nn.Module):
    """Runs in training and in tests, but not on batches of one or of 64 zeros."""

    def __init__(self, shape, classes):
        super().__init__()
        self.inner = _plain(shape, classes)

    def forward(self, x):
        if not self.training and not x.any():
            raise RuntimeError("nothing to see")
        return self.inner(x)


def shy(shape, classes):
    return Shy(shape, classes)
'''
TIMES = {"model/latency_ms", "model/latency_inputs", "model/speedup", "model/speedup_spread"}
COSTS = TIMES | {"model/params_compacted", "model/macs_compacted", "model/peak_mb", "model/file_mb"}


def ended(place, name, tmp_path, **fields):
    """The metrics and tags of a trial of one of those networks, which has finished."""
    file = tmp_path / "nets.py"
    file.write_text(NETS)
    trial = Trial(dataset="digits", architecture=f"{file}:{name}", architecture_code=NETS, epochs=1, lr=0.05,
                  batch_size=64, **{"pruner": "magnitude", "compression": 2} | fields)  # fmt: skip
    outcome = run(trial, place)
    assert (outcome.end, outcome.error) == ("finished", "")
    metrics, tags = {}, {}
    for event, _ in read(place.storage / trial.fingerprint):
        metrics |= event.get("metrics", {})
        tags |= event.get("tags", {})
    assert 0 <= metrics["final/top1"] <= 100
    return metrics, tags, place.storage / trial.fingerprint


@pytest.mark.parametrize("name", ["plain", "frozen", "tied", "spectral", "normed"])
def test_trials_of_odd_networks_finish_with_all_their_costs(name, place, tmp_path):
    metrics, tags, _ = ended(place, name, tmp_path)
    assert metrics.keys() >= COSTS | {"model/macs", "model/macs_kept"}
    assert not [tag for tag in tags if tag.startswith("unmeasured")]


def test_weights_that_are_tied_are_kept_and_can_be_loaded(place, tmp_path):
    _, _, folder = ended(place, "tied", tmp_path, pruner="dense", compression=1)
    weights = load_file(folder / "weights.safetensors")
    assert torch.equal(weights["2.0.weight"], weights["2.2.weight"])


def test_a_cost_that_cannot_be_measured_costs_itself_only(place, tmp_path):
    metrics, tags, folder = ended(place, "shy", tmp_path)
    missing = TIMES | {"model/macs", "model/macs_kept", "model/macs_compacted", "model/peak_mb"}
    assert not metrics.keys() & (missing | {"profile/macs_kept"})
    assert metrics.keys() >= {"model/params_compacted", "model/file_mb", "model/compression", "profile/density"}
    reasons = {tag: reason for tag, reason in tags.items() if tag.startswith("unmeasured.")}
    assert reasons == {
        f"unmeasured.{cost}": "RuntimeError: nothing to see"
        for cost in ("macs", "model/macs_compacted", "model/latency_ms", "model/peak_mb")
    }
    assert {"layers.json", "histograms.json", "histograms.png", "masks.safetensors", "weights.safetensors"} <= {
        file.name for file in folder.iterdir()
    }


def test_frozen_and_parametrized_parameters_count_as_others_do():
    def net():
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))

    shape = (1, 8, 8)
    assert peak_mb(net().requires_grad_(False), shape) == peak_mb(net(), shape)
    for wrap in (weight_norm, spectral_norm):
        model = net()
        model[2] = wrap(model[2])
        assert peak_mb(model, shape) >= peak_mb(net(), shape)


def test_peak_memory_by_hand():
    # 64 inputs of 1000, the weight, 64 outputs of 500: all alive while the layer computes. In place adds nothing.
    model = nn.Sequential(nn.Flatten(), nn.Linear(1000, 500, bias=False), nn.ReLU(inplace=True))
    assert peak_mb(model, (10, 10, 10)) == (64_000 + 500_000 + 32_000) * 4 / 1e6
    # The second layer's output comes when the input is held by the caller and the first output by the layer.
    model.append(nn.Linear(500, 10, bias=False))
    assert peak_mb(model, (10, 10, 10)) == (64_000 + 500_000 + 5_000 + 32_000 + 640) * 4 / 1e6


def test_a_tensor_of_two_names_stands_in_the_file_once():
    model = nn.Sequential(nn.Linear(100, 100, bias=False), nn.Linear(100, 100, bias=False))
    apart = file_mb(model)
    model[1].weight = model[0].weight
    assert file_mb(model) == pytest.approx(apart - 0.04, abs=1e-3)
    assert file_mb(model) == pytest.approx(file_mb(nn.Sequential(model[0])), abs=1e-4)


def test_tensors_in_memory_of_their_own_are_what_they_were():
    whole = torch.arange(12.0)
    tensors = {"all": whole, "again": whole, "part": whole[3:6], "turned": whole.view(3, 4).t()}
    alone = own_memory(tensors)
    assert all(torch.equal(alone[name], tensor) for name, tensor in tensors.items())
    assert len(save(alone)) > 12 * 4 + 12 * 4 + 3 * 4 + 12 * 4
    assert alone["all"] is whole  # copied only where it must be


def test_reasons_are_told_in_one_line_and_machines_raise():
    unmeasured = Unmeasured()

    def fail(error):
        raise error

    assert unmeasured.attempt("a", lambda x: x + 1, 1) == 2
    assert unmeasured.attempt("b", fail, ValueError("two\nlines")) is None
    assert unmeasured.tags() == {"unmeasured.b": "ValueError: two lines"}
    for error in (MemoryError(), OSError(28, "No space left"), torch.OutOfMemoryError("full"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            unmeasured.attempt("c", fail, error)
    assert set(unmeasured.reasons) == {"b"}


def test_what_is_not_measured_is_absent_from_the_costs():
    class Broken(nn.Linear):
        def forward(self, x):
            raise RuntimeError("no")

    unmeasured = Unmeasured()
    found, _ = compacted_metrics(nn.Sequential(nn.Flatten(), Broken(4, 2)), {}, (1, 2, 2), unmeasured)
    assert found.keys() == {"model/params_compacted", "model/file_mb"}
    assert unmeasured.reasons.keys() == {"model/macs_compacted", "model/latency_ms", "model/peak_mb"}
