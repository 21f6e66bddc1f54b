"""Trials packed into one process: each ends as if it were alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import fx, nn

from pruners import find, turns
from search_spaces import Trial
from trainables.outbox import ended, read
from trainables.packed import together
from trainables.place import Place
from trainables.run import run

DROPS = """
from torch import nn

def build(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Dropout(0.3), nn.Linear(40, num_classes))
"""
DROPPING = {"architecture": "drops.py:build", "architecture_code": DROPS}
MEASURED = ("time/", "model/latency_ms")  # what no two runs have in common


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "packed", tmp_path / "data")


def alone(place, tmp_path):
    return Place(tmp_path / "alone", place.cache)


def digits(**fields):
    return Trial(**{"dataset": "digits", "architecture": "mlp", "epochs": 2, **fields})


def packed(trials, place, lanes=4, **how):
    outcomes, left = {}, list(trials)
    together(
        lanes,
        lambda: left.pop(0) if left else None,
        lambda trial: run(trial, place, **how.get(trial.fingerprint, {})),
        lambda trial, outcome: outcomes.__setitem__(trial.fingerprint, outcome.end),
    )
    return [outcomes[trial.fingerprint] for trial in trials]


def recorded(trial, place):
    """All that its record says, but for what is measured by the clock."""
    said = []
    for event, _ in read(place.storage / trial.fingerprint):
        metrics = {k: v for k, v in event.get("metrics", {}).items() if not k.startswith(MEASURED)}
        said.append((metrics, event.get("step"), event.get("tags"), event.get("artifact"), event.get("end")))
    return said


def kept(trial, place, name="weights.safetensors"):
    return (place.storage / trial.fingerprint / name).read_bytes()


def test_packed_is_as_alone_to_the_bit(place, tmp_path):
    trials = [
        digits(pruner="synflow", compression=10, architecture="resnet20", epochs=1),
        digits(pruner="snip", compression=100, lr=0.02),
        digits(pruner="grasp", compression=5, architecture="conv", epochs=1),
        *(digits(pruner="snip", compression=4, seed=seed, **DROPPING) for seed in (0, 1)),
        digits(pruner="random", compression=10_000),
        digits(seed=1, optimizer="adam", lr=1e-3),
    ]
    assert packed(trials, place) == ["finished"] * len(trials)
    by_itself = alone(place, tmp_path)
    for trial in trials:
        run(trial, by_itself)
        assert recorded(trial, place) == recorded(trial, by_itself)
        assert kept(trial, place) == kept(trial, by_itself)


def test_one_that_fails_takes_nobody_with_it(place, tmp_path):
    broken = {"pruner": "own.py:broken", "compression": 4, "code": "def broken(model, batches, **_): raise KeyError(1)"}
    starved = broken | {"code": "import torch\ndef broken(*_, **__): raise torch.OutOfMemoryError('too little')"}
    trials = [digits(**broken), digits(seed=1, epochs=3), digits(**starved), digits(seed=2), digits(seed=3)]
    grow = {trials[2].fingerprint: {"stop": lambda: False}}
    shared = Place(place.storage, place.cache, gpus=0.5, grow=True)
    assert packed(trials, shared, lanes=3, **grow) == ["failed", "finished", "memory", "finished", "finished"]
    assert [ended(place.storage / trial.fingerprint) for trial in trials] == [
        "failed", "finished", None, "finished", "finished",
    ]  # fmt: skip


def test_a_packed_trial_goes_on_alone_and_one_begun_alone_goes_on_packed(place, tmp_path):
    trials = [digits(pruner="snip", compression=c, epochs=4, **DROPPING) for c in (2, 10, 50)]
    asked = {trial.fingerprint: [] for trial in trials}

    def after_two(fingerprint):
        return lambda: asked[fingerprint].append(1) or len(asked[fingerprint]) > 2

    stops = {trial.fingerprint: {"stop": after_two(trial.fingerprint)} for trial in trials}
    assert packed(trials, place, **stops) == ["interrupted"] * 3
    assert all(list((place.storage / trial.fingerprint).glob("checkpoint*")) for trial in trials)
    run(trials[0], place)
    other = alone(place, tmp_path)
    run(trials[1], other, **stops[trials[1].fingerprint])
    for trial in trials:
        run(trial, other)
    assert packed(trials[1:], place) == ["finished"] * 2
    for trial in trials:
        assert kept(trial, place) == kept(trial, other)


def test_a_thread_that_is_alone_is_alone():
    """Threads call a module while others trace one: torch.fx sends all calls of the process through its tracer."""
    begin, seen = threading.Barrier(4), []

    def calling():
        net = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        with turns.at_work():
            begin.wait()
            while len(seen) < 20:
                turns.give_way()
                net(torch.zeros(1, 3))

    def tracing():
        begin.wait()
        for _ in range(10):
            with turns.at_work(), turns.alone(), turns.alone():
                fx.Tracer().trace(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
                seen.append(1)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(job) for job in (calling, calling, tracing, tracing)]:
            future.result()
    assert len(seen) == 20


@pytest.mark.parametrize("pruner", ["grasp", "prospr"])
def test_attention_is_computed_another_way_only_while_nobody_else_computes(pruner):
    seen = []

    class Seeing(nn.Linear):
        def forward(self, x):
            seen.append((torch.backends.cuda.flash_sdp_enabled(), turns._working))  # the first is for all threads
            return super().forward(x)

    with turns.at_work():
        find(nn.Sequential(Seeing(3, 2)), pruner, 2, [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))])
    assert (False, 0) in seen
    assert (False, 1) not in seen


def test_lanes_are_filled_as_they_come_free():
    most, at_once, left, over = [], set(), list(range(7)), []

    def do(item):
        at_once.add(item)
        most.append(len(at_once))
        at_once.discard(item)
        return item

    together(3, lambda: left.pop(0) if left else None, do, lambda item, found: over.append((item, found)))
    assert sorted(over) == [(n, n) for n in range(7)]
    assert max(most) <= 3


def test_a_gpu_that_broke_is_nobodys_failure_unless_the_trial_was_alone_on_it(place):
    code = (
        "import torch\ndef broken(*_, **__): raise torch.AcceleratorError('CUDA error: device-side assert triggered')"
    )
    trial = digits(pruner="own.py:broken", compression=4, code=code)
    assert run(trial, replace(place, shared=True)).end == "broken"
    assert ended(place.storage / trial.fingerprint) is None
    assert run(trial, place).end == "failed"
    assert ended(place.storage / trial.fingerprint) == "failed"


BREAKS = """
import torch
from torch import nn

class Breaks(nn.Linear):
    def forward(self, x):
        if self.training:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return super().forward(x)

def build(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), Breaks(64, num_classes))
"""


def test_a_gpu_that_broke_in_what_a_trial_starts_from_is_nobodys_failure(place):
    own = {"architecture": "breaks.py:build", "architecture_code": BREAKS}
    trial = digits(pruner="magnitude", compression=4, pretrain_epochs=1, **own)
    assert run(trial, replace(place, shared=True)).end == "broken"
    assert ended(place.storage / trial.fingerprint) is None
