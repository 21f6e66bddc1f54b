"""How a sweep stands, while its driver lives, after it was killed, and when it is done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.live.interrupt import Stop
from orchestrator.planning.plan import plan
from orchestrator.running import lease, sweep_status
from orchestrator.running.lease import Lease, sole_in_folder
from orchestrator.status import main
from orchestrator.tracking.experiment import create
from search_spaces import load
from trainables.record.event_log import EventLog
from trainables.record.mlflow import deliver

ERROR = "ValueError: it broke\n  there"
GRID = {"dataset": "digits", "architecture": "mlp", "pruner": "random", "compression": [2, 4, 8, 16], "epochs": 5}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep of four trials: one has finished, one has failed, one runs, one has not begun."""
    folder = tmp_path_factory.mktemp("sweep")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    planned = replace(plan(load(GRID), cache=folder / "data"), space="grid")
    book = create(uri, "grid", folder / "artifacts")
    parent = book.start_sweep(planned, "grid")
    for trial, status in zip(planned.trials, ("FINISHED", "FAILED", "RUNNING"), strict=False):
        (folder / trial.fingerprint).mkdir()
        record = EventLog(folder / trial.fingerprint)
        run_id = book.take_up(trial, parent, "#000000", folder / trial.fingerprint)
        for epoch in (1, 2, 3):
            record.metrics({"train/loss": 1 / epoch}, epoch)
        record.metrics({"time/total_seconds": 40.0} if status == "FINISHED" else {})
        record.close()
        deliver(book.client, run_id, folder / trial.fingerprint)
        if status != "RUNNING":
            book.close_trial(trial.fingerprint, status, ERROR if status == "FAILED" else None, "")
    return folder, uri, book, parent


def status(folder, capsys, *names):
    assert main([*names, "--output", str(folder)]) == 0
    return capsys.readouterr().out.splitlines()


def test_one_that_runs(sweep, monkeypatch, capsys):
    folder, _, book, _ = sweep
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    with sole_in_folder(folder), Lease(folder, Stop(), print) as held:
        held.claim(book)
        first, second, *rest = status(folder, capsys, "grid")
    assert first.startswith("grid: running on ") and str(folder) in first
    assert second == "  1 of 4 trials finished, 1 failed, 1 running, 1 to do; about 60 s left"
    assert rest == [
        "  running  mlp digits random 8x s0: epoch 3 of 5",
        "  failed  mlp digits random 4x s0: ValueError: it broke",
    ]


def test_one_whose_driver_was_killed(sweep, monkeypatch, capsys):
    folder, _, book, _ = sweep
    monkeypatch.setattr(sweep_status, "LATE_SECONDS", 0.5)
    book.client.set_experiment_tag(book.experiment_id, lease.TAG, "there:/results 12345678")
    first, second, *rest = status(folder, capsys)
    assert first.startswith("grid: not running (begun ") and first.endswith("; the same command continues it")
    assert second == "  1 of 4 trials finished, 1 failed, 1 interrupted, 1 to do"
    assert len(rest) == 1


def test_one_that_is_done(sweep, capsys):
    folder, _, book, parent = sweep
    book.client.delete_experiment_tag(book.experiment_id, lease.TAG)
    book.close(parent, "FINISHED")
    assert status(folder, capsys)[0].startswith("grid: all done (begun ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["grit"], "experiment 'grit' does not exist; did you mean 'grid'? There are: grid"),
        (["grid", "--output", "nowhere"], "there is no file"),
    ],
)
def test_refused_in_a_line(words, said, sweep, capsys):
    assert main(["--output", str(sweep[0]), *words]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
