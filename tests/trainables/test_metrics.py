"""The registry of metrics names all that trials log, and agrees with itself."""

from __future__ import annotations

import pytest

from search_spaces import Trial
from trainables.measures import MEASURES
from trainables.metrics import HISTORIES, METRICS, OBJECTIVES, at_end
from trainables.record.event_log import read
from trainables.run import run

SHORT = {"dataset": "digits", "architecture": "mlp", "epochs": 1, "samples_per_class": 2}
TRIALS = {
    "pruned": Trial(**SHORT, pruner="snip", compression=4, validation=0.1),
    "in levels": Trial(**SHORT, pruner="imp", compression=4, levels=2),
    "dense": Trial(**SHORT),
} | {
    f"measure {name}": Trial(**SHORT, pruner="synflow", compression=4, measure=name)
    for name in MEASURES
    if name not in ("imp-conservation", "training")
}


@pytest.mark.parametrize("kind", TRIALS)
def test_what_a_trial_logs_is_registered(kind, place):
    assert run(TRIALS[kind], place).end == "finished"
    logged = {name for event, _ in read(place.storage / TRIALS[kind].fingerprint) for name in event.get("metrics", {})}
    assert logged
    assert logged - METRICS.keys() == set()


def test_objectives_are_not_of_the_test_set_and_have_their_last_value_once():
    assert not any(name.startswith(("test/", "final/", "best/")) for name in OBJECTIVES)
    assert {METRICS[at_end(name)].when for name in OBJECTIVES} == {"once"}
    assert HISTORIES.isdisjoint(OBJECTIVES)


def test_shares_are_of_registered_metrics_and_tables_have_names_of_their_own():
    assert {metric.share_of for metric in METRICS.values() if metric.share_of} <= METRICS.keys()
    names = [metric.table for metric in METRICS.values() if metric.table]
    assert len(names) == len(set(names))
