"""Latency of finished trials, measured again: added to the record, without ever making it less than finished."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search_spaces import Trial
from trainables.latency_alone import is_measured_alone, measure_alone
from trainables.record.event_log import FILE, ended, snapshot
from trainables.run import run

TINY = Trial(dataset="digits", architecture="mlp", pruner="random", compression=4, epochs=1)


@pytest.mark.parametrize("kept", [True, False], ids=["with weights", "weights not kept"])
@pytest.mark.parametrize("pruner", ["random", "dense"])
def test_a_finished_trial_gets_one_more_latency(place, pruner, kept):
    trial = TINY.model_copy(update={"pruner": pruner, "compression": 4.0 if pruner == "random" else 1.0})
    place = place if kept else replace(place, weights_mb=0.0)
    assert run(trial, place).end == "finished"
    folder = place.storage / trial.fingerprint
    before = snapshot(folder)
    assert not is_measured_alone(before)

    assert measure_alone(trial, place) == ""

    record = snapshot(folder)
    assert record.end == "finished"
    assert is_measured_alone(record)
    assert len(record.events) == len(before.events) + 1
    added = record.events[-1][0]
    assert added["step"] == 1
    assert record.metrics == before.metrics | added["metrics"]
    assert {key for key in before.metrics if "latency" in key or "speedup" in key} == set(added["metrics"])
    assert record.tags["latency_machine"] == record.tags["machine"]

    assert measure_alone(trial, place) == ""
    assert snapshot(folder) == record  # it was not measured a third time


def test_a_crash_while_it_is_added_leaves_a_finished_trial(place):
    assert run(TINY, place).end == "finished"
    folder = place.storage / TINY.fingerprint
    whole = (folder / FILE).read_bytes()
    assert measure_alone(TINY, place) == ""
    more = (folder / FILE).read_bytes()
    for end in range(len(whole), len(more)):
        (folder / FILE).write_bytes(more[:end])
        assert ended(folder) == "finished"
    assert measure_alone(TINY, place) == ""  # after the line that was cut off
    assert is_measured_alone(snapshot(folder))


def test_without_a_finished_record_the_reason_is_said(place):
    assert measure_alone(TINY, place) == "its record is not here"
    assert not (place.storage / TINY.fingerprint / FILE).exists()


def test_a_network_that_cannot_be_measured_keeps_what_it_had(place):
    assert run(TINY, place).end == "finished"
    folder = place.storage / TINY.fingerprint
    (folder / "masks.safetensors").write_bytes(b"damaged")
    before = (folder / FILE).read_bytes()
    assert "Error" in measure_alone(TINY, place)
    assert (folder / FILE).read_bytes() == before
