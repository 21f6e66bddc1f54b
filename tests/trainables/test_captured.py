"""Steps captured in a graph: the logic with a stand-in on any machine, the graph itself where there is CUDA."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from search_spaces import Trial
from trainables.captured import WARM, Captured
from trainables.masked import Masked
from trainables.optimizer import make_optimizer
from trainables.outbox import read
from trainables.place import Place
from trainables.run import run
from trainables.stepping import Stepper

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here: no graph is captured")
SIZES = [8] * (WARM + 3) + [5, 8, 8]  # the last batch of an epoch is smaller


def pretended(work):
    """What a graph does, done again each time: on the memory of the first, into one result."""
    found = torch.zeros(2, dtype=torch.float64)
    seen.append("recorded")

    def replay():
        seen.append("replayed")
        found.copy_(work())

    return replay, found


seen: list[str] = []


def trained(record=None, optimizer="sgd", drop=0.0, seed=0):
    """Weights, results, what was told and the count of steps after batches of `SIZES`, at a falling learning rate."""
    seen.clear()
    torch.manual_seed(seed)
    trial = Trial(dataset="digits", architecture="mlp", optimizer=optimizer, lr=0.05)
    net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(drop), nn.Linear(16, 3))
    mask = {"0.weight": torch.rand(16, 6) > 0.5}
    moved = make_optimizer(net, trial)
    masked, told, results = Masked(net, moved, mask, None, 0), [], []
    step = Stepper(net, moved, masked, trial)
    step = Captured(step, moved, masked, told.append, record) if record else step
    draw = torch.Generator().manual_seed(1)
    for number, size in enumerate(SIZES):
        moved.param_groups[0]["lr"] = 0.05 / (1 + number)
        x, y = torch.randn(size, 6, generator=draw), torch.randint(3, (size,), generator=draw)
        results.append(step(x, y).tolist())
    assert isinstance(moved.param_groups[0]["lr"], float)
    return net.state_dict(), results, told, masked.steps


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_replayed_is_as_step_by_step(optimizer):
    plain, captured = trained(optimizer=optimizer), trained(pretended, optimizer=optimizer)
    assert seen == ["recorded"] + ["replayed"] * (len(SIZES) - WARM - 1)
    assert captured[2] == ["one CUDA graph"]
    assert captured[3] == plain[3] == len(SIZES)
    torch.testing.assert_close(captured[0], plain[0], rtol=1e-5, atol=1e-6)
    assert captured[1] == [pytest.approx(result, rel=1e-5) for result in plain[1]]
    assert torch.equal(captured[0]["0.weight"] == 0, plain[0]["0.weight"] == 0)  # what is pruned stays so


def test_what_draws_is_not_captured():
    _, _, told, steps = trained(pretended, drop=0.5)
    assert told == ["step by step: it draws random numbers"]
    assert (seen, steps) == ([], len(SIZES))


def test_where_it_cannot_be_captured_it_trains_all_the_same_and_says_why():
    def refused(work):
        raise RuntimeError("operation not permitted when stream is capturing")

    plain, captured = trained(), trained(refused)
    assert captured[2] == ["step by step: RuntimeError: operation not permitted when stream is capturing"]
    torch.testing.assert_close(captured[0], plain[0], rtol=0, atol=0)
    assert captured[1] == plain[1]


@CUDA
@pytest.mark.parametrize("fields", [{}, {"optimizer": "adam", "lr": 0.001}, {"ema": 0.9, "accumulate": 2}])
def test_a_graph_trains_what_python_trains(tmp_path, monkeypatch, fields):
    trial = Trial(dataset="digits", architecture="resnet20", pruner="snip", compression=10, epochs=3, **fields)
    place = Place(tmp_path / "captured", tmp_path / "data", device="cuda")
    assert run(trial, place).end == "finished"
    monkeypatch.setattr("trainables.captured.WARM", 10**9)
    other = Place(tmp_path / "plain", tmp_path / "data", device="cuda")
    run(trial, other)
    assert stepped(trial, place) == "one CUDA graph"
    assert final(trial, place) == pytest.approx(final(trial, other), abs=0.05)


def events(trial, place):
    return [event for event, _ in read(place.storage / trial.fingerprint)]


def stepped(trial, place):
    return next(event["tags"]["stepped"] for event in events(trial, place) if "stepped" in event.get("tags", {}))


def final(trial, place):
    metrics = [event.get("metrics", {}) for event in events(trial, place)]
    return next(each["final/loss"] for each in metrics if "final/loss" in each)
