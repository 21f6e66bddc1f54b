"""Runs that people and other tools put into a sweep's experiment are ignored, left alone and mentioned."""

from __future__ import annotations

import shutil

import pytest
from mlflow import MlflowClient

from orchestrator.audit.__main__ import main as audit
from orchestrator.report.__main__ import main as report
from orchestrator.results import load_results
from orchestrator.results.results import read
from orchestrator.sweep import main as sweep

NOTICE = "4 runs of the experiment are not of a sweep (no tag fingerprint), and ignored"


def add_foreign(uri: str, experiment: str) -> set[str]:
    """Add runs of every kind that is not ours, some of them running; return the ids of all."""
    client = MlflowClient(uri)
    known = client.get_experiment_by_name(experiment)
    where = known.experiment_id if known else client.create_experiment(experiment)
    by_hand = client.create_run(where).info.run_id
    client.log_metric(by_hand, "final/top1", 0.99)
    client.log_metric(by_hand, "time/epoch_seconds", 1)
    client.set_terminated(by_hand)
    namesake = client.create_run(where, tags={"kind": "trial"}).info.run_id
    client.log_metric(namesake, "final/top1", 0.99)
    client.set_terminated(namesake)
    running = [client.create_run(where, tags={"kind": kind}).info.run_id for kind in ("trial", "model")]
    plans = [client.create_run(where, tags={"kind": "sweep"}).info.run_id for _ in range(3)]
    client.log_dict(plans[0], [1, 2], "plan.json")
    client.log_dict(plans[1], {"cells": [{"lr": 0.1}], "trials": {}}, "plan.json")
    return {by_hand, namesake, *running, *plans}


@pytest.fixture(scope="module")
def mixed(store, tmp_path_factory):
    """The address of a store with foreign runs, and its results without them."""
    folder = tmp_path_factory.mktemp("mixed") / "copy"
    shutil.copytree(store.folder, folder)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    before = read(uri, "small")
    add_foreign(uri, "small")
    return uri, before


def test_results_are_those_of_the_sweep(mixed):
    uri, before = mixed
    after = read(uri, "small")
    assert (before.foreign, after.foreign) == (0, 4)
    assert after.rows == before.rows
    assert [bool(sweep.plan) for sweep in after.sweeps] == [False] * 3 + [True]
    with pytest.warns(UserWarning, match="4 runs of the experiment are not of a sweep"):
        table = load_results("small", uri)
    assert set(table["run_id"]) == {row.run_id for row in before.rows}


def test_the_report_and_the_audit_mention_them(mixed, tmp_path, capsys):
    uri, _ = mixed
    words = ["small", "--tracking-uri", uri, "--no-log"]
    one_panel = ["--where", "architecture = resnet20 and compression = 10"]
    assert report([*words, *one_panel, "--output", str(tmp_path / "report")]) == 0
    assert NOTICE in (tmp_path / "report" / "report.html").read_text()
    capsys.readouterr()
    assert audit([*words, "--trials", "1", "--output", str(tmp_path)]) == 2  # the numbers are invented
    out, err = capsys.readouterr()
    assert NOTICE in out
    assert err == ""


def test_a_sweep_leaves_them_as_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    uri = f"sqlite:///{tmp_path / 'results' / 'mlflow.db'}"
    client = MlflowClient(uri)
    client.create_experiment("digits", artifact_location=(tmp_path / "results" / "artifacts").as_uri())
    added = add_foreign(uri, "digits")
    before = {run_id: client.get_run(run_id).to_dictionary() for run_id in added}
    words = ["digits", "--local", "--set", "architecture=mlp", "--set", "epochs=0", "--set", "pruner=random"]
    words += ["--set", "compression=4"]
    assert sweep([*words, "--dry-run"]) == 0
    assert NOTICE in " ".join(capsys.readouterr().out.split())
    assert sweep(words) == 0
    assert {run_id: client.get_run(run_id).to_dictionary() for run_id in added} == before
