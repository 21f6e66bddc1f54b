"""A clock that is set back in the middle of a sweep changes no result, no duration and no decision."""

from __future__ import annotations

import time
from itertools import count
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from orchestrator.live.interrupt import Stop
from orchestrator.running import lease
from orchestrator.sweep import main

HOUR = 3600


@pytest.fixture
def clock(monkeypatch):
    """Let the wall clock go back by an hour from its n-th reading on; `clock.back_at = n` sets n."""
    found = SimpleNamespace(back_at=10**9, readings=count())
    true, true_ns = time.time, time.time_ns

    def back() -> int:
        return HOUR * (next(found.readings) >= found.back_at)

    monkeypatch.setattr(time, "time", lambda: true() - back())
    monkeypatch.setattr(time, "time_ns", lambda: true_ns() - 10**9 * back())
    return found


def test_budgets_and_patience_do_not_look_at_it(clock):
    clock.back_at = 0
    stop = Stop(budget=1e-9)
    assert stop()
    stop = Stop(budget=HOUR / 2)
    assert not stop()
    stop.request("Enough.", grace=0)
    assert stop.impatient


def test_a_lease_is_given_up_for_silence_and_not_for_its_time(clock, monkeypatch, tmp_path):
    clock.back_at = 0
    tags = {lease.TAG: "other:/folder 1234"}
    client = SimpleNamespace(
        get_experiment=lambda _: SimpleNamespace(tags=tags),
        set_experiment_tag=lambda _, key, value: tags.update({key: value}),
        delete_experiment_tag=lambda _, key: tags.pop(key),
    )
    book = SimpleNamespace(client=client, experiment="e", experiment_id="1", read=lambda: None)
    monkeypatch.setattr(lease, "SILENT_SECONDS", 0.02)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.005)
    said = []
    with lease.Lease(tmp_path, Stop(), said.append) as held:
        held.claim(book)
        assert tags[lease.TAG].startswith(held._owner)
    assert len(said) == 1
    assert tags == {}


@pytest.mark.slow
def test_a_sweep_does_not_notice(clock, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sets = ("architecture=mlp", "epochs=3", "pruner=[random, snip]", "compression=4")
    words = ["digits", "--local", *(word for setting in sets for word in ("--set", setting))]
    clock.back_at = 60  # of about 120 readings: while the first trial trains or is sent
    assert main(words) == 0
    assert next(clock.readings) > clock.back_at
    client = MlflowClient(f"sqlite:///{tmp_path / 'results' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id], "tags.kind = 'trial'")
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    for run in runs:
        durations = [value for key, value in run.data.metrics.items() if key.endswith("_seconds")]
        assert durations
        assert all(0 <= value < HOUR / 2 for value in durations)
        last = client.get_metric_history(run.info.run_id, "test/top1")
        assert sorted(point.step for point in last) == [1, 2, 3]
        assert run.data.metrics["test/top1"] == max(last, key=lambda point: point.step).value
    assert "2 done before, 0 to do" not in capsys.readouterr().out
    assert main(words) == 0
    assert "2 done before, 0 to do" in capsys.readouterr().out
