"""Measures: the numbers of the SynFlow paper's figures, and that a killed one goes on."""

from __future__ import annotations

import json

import pytest
import torch

from pruners import find
from search_spaces import Trial
from trainables.architectures import build
from trainables.inverse_size_fit import inverse
from trainables.measures import critical_compression, schedule_conservation
from trainables.measures.unit_conservation import units
from trainables.record.event_log import read
from trainables.run import run


def measure(name, **fields):
    return Trial(**{"dataset": "synthetic-32", "measure": name, "epochs": 0} | fields)


def outcome(trial, place):
    """The metrics and the table of a finished trial."""
    assert run(trial, place).end == "finished"
    folder = place.storage / trial.fingerprint
    events = [event for event, _ in read(folder)]
    metrics = {key: value for event in events for key, value in event.get("metrics", {}).items()}
    return metrics, json.loads((folder / "measure.json").read_text())["data"]


@pytest.mark.parametrize("name", ["unit-conservation", "layer-conservation"])
def test_synflow_conserves_its_score_and_magnitude_does_not(name, place):
    """Tanaka et al. 2020, theorems 1 and 2, in float64, on a network without batch norm."""
    errors = {
        pruner: outcome(measure(name, architecture="vgg11", pruner=pruner), place)[0]["conservation/error"]
        for pruner in ("synflow", "magnitude")
    }
    assert errors["synflow"] < 1e-6
    assert errors["magnitude"] > 0.9  # as published: 0.96 at units, 0.9999 at layers of ImageNet's VGG-19


def test_units_of_a_residual_network_are_those_inside_its_blocks():
    model = build(measure("", architecture="resnet20").network, (3, 32, 32), 10, seed=0)
    rows = units(model, find(model, "synflow", 1, [(torch.zeros(1, 3, 32, 32), torch.zeros(1))], iterations=1).scores)
    assert len(rows) == 3 * (16 + 32 + 64)
    assert all(come == pytest.approx(gone, rel=1e-6) for _, _, come, gone in rows)


def test_scores_into_and_out_of_a_unit_are_summed_over_the_right_weights():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(2 * 4, 3)
    )
    scores = {"0.weight": torch.tensor([1.0, 2.0]).view(2, 1, 1, 1), "3.weight": torch.arange(24.0).view(3, 8)}
    first, second = sum(range(4)) * 3 + 4 * (8 + 16), sum(range(4, 8)) * 3 + 4 * (8 + 16)
    assert units(model, scores) == [["0.weight", 0, 1.0, first], ["0.weight", 1, 2.0, second]]


@pytest.mark.parametrize(("pruner", "published"), [("magnitude", 2.75), ("random", 3.25)])
def test_vgg16_loses_a_layer_where_the_published_runs_do(pruner, published, place, monkeypatch):
    """Within a step of 10^0.25 of the authors' notebook, figure 1; their random scores are normal and ours uniform."""
    near = [10 ** (published + step * 0.25) for step in (-1, 0, 1, 2)]
    monkeypatch.setattr(critical_compression, "scanned_compressions", lambda limit: near)
    metrics, _ = outcome(measure("critical-compression", architecture="vgg16-bn", pruner=pruner), place)
    assert metrics["critical/compression"] in near[:3]
    assert metrics["critical/maximum"] == pytest.approx(10**6.02, rel=0.01)  # 14.7 million weights in 14 layers


def test_a_scan_goes_up_to_one_weight_a_layer_and_tells_the_step_before_the_first_empty_layer(place):
    trial = measure("critical-compression", dataset="digits", architecture="conv", pruner="magnitude")
    metrics, rows = outcome(trial, place)
    kept = {}
    for compression, _, _, count in rows:
        kept.setdefault(compression, []).append(count)
    weights = sum(kept[1.0])
    assert list(kept) == pytest.approx([10 ** (0.25 * step) for step in range(len(kept))])
    assert max(kept) <= weights / 3 == metrics["critical/maximum"] < max(kept) * 10**0.25
    for compression, counts in kept.items():
        assert sum(counts) == weights - int((1 - 1 / compression) * weights)
        assert all(counts) or compression > metrics["critical/compression"]
    assert all(kept[metrics["critical/compression"]])


def test_a_scan_that_was_stopped_goes_on_where_it_was(place, monkeypatch):
    twice = {"schedule": "exponential", "iterations": 2}
    trial = measure("critical-compression", dataset="digits", architecture="conv", pruner="synflow", **twice)
    asked = []
    assert run(trial, place, stop=lambda: asked.append(1) or len(asked) > 4).end == "interrupted"
    pruned = []
    real = critical_compression.pause
    monkeypatch.setattr(critical_compression, "pause", lambda *given: pruned.append(1) or real(*given))
    _, rows = outcome(trial, place)
    steps = {compression for compression, *_ in rows}
    assert 0 < len(pruned) < len(steps)
    other = trial.model_copy(update={"weight_decay": 0.0})  # the same computation, and another folder
    assert outcome(other, place)[1] == rows


def test_the_cut_is_what_an_iteration_prunes_and_the_flow_what_comes_out(place):
    """Tanaka et al. 2020, appendix: of exponential steps each cuts less than one step does."""
    common = {"architecture": "vgg11", "pruner": "synflow", "compression": 100}
    once, first = outcome(measure("schedule-conservation", **common), place)
    slow, rows = outcome(measure("schedule-conservation", **common, schedule="exponential", iterations=4), place)
    assert len(rows) == 4
    assert once["conservation/cut_to_flow"] > slow["conservation/cut_to_flow"]
    model = build(measure("", architecture="vgg11").network, (3, 32, 32), 10, seed=0).double()
    for parameter in model.parameters():
        parameter.data.abs_()
    flow = model(torch.ones(1, 3, 32, 32, dtype=torch.float64)).sum().item()
    assert [rows[0][3], first[0][3]] == pytest.approx([flow, flow], rel=1e-9)
    assert slow["conservation/cut_to_flow"] == max(cut / flow for _, _, cut, flow, _ in rows)
    assert schedule_conservation.COLUMNS[2:4] == ("cut", "flow")


def test_training_in_levels_is_followed_epoch_by_epoch_and_goes_on_after_a_stop(place):
    common = {"dataset": "digits", "architecture": "mlp", "pruner": "imp"}
    trial = measure("imp-conservation", **common, levels=2, compression=4, epochs=2, lr=0.05)
    metrics, rows = outcome(trial, place)
    assert len(rows) == 3 * (2 + 1) * 6  # levels, the dense one among them; epochs, and before the first; layers
    kept = [sum(row[3] for row in rows if row[:2] == [level, 0]) for level in (0, 1, 2)]
    assert [kept[0] / some for some in kept] == pytest.approx([1, 2, 4], rel=1e-3)
    assert {"conservation/slope", "conservation/slope_at_start"} <= metrics.keys()

    again = trial.model_copy(update={"rewind_epoch": 1})  # which it ignores: the same computation, in another folder
    asked = []
    assert run(again, place, stop=lambda: asked.append(1) or len(asked) > 2).end == "interrupted"
    assert outcome(again, place)[1] == rows


def test_equal_totals_are_a_slope_of_one():
    assert inverse([10, 100, 1000], [0.1, 0.01, 0.001])["conservation/slope"] == pytest.approx(1)
    assert inverse([10, 100, 1000], [0.1, 0.0, 0.001])["conservation/correlation"] == pytest.approx(1)
    assert inverse([10, 10], [0.1, 0.2]) == {}


def test_weights_are_seen_to_move_where_channels_died(place):
    trial = Trial(
        dataset="digits", architecture="conv", pruner="magnitude", compression=20, levels=1, epochs=2, lr=0.05,
        measure="imp-conservation",
    )  # fmt: skip
    _, rows = outcome(trial, place)
    seen = [[row[4] for row in rows if row[:2] == [1, epoch]] for epoch in (0, 1, 2)]
    assert all(a != b != c for a, b, c in zip(*seen, strict=True))
