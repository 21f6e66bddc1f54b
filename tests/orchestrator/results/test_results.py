"""Reading: every cell is there, joined with its run, and what cannot be read is said in one line."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from invented_sweep import Store, build, log_plan

from orchestrator.results.lines import Facet, dense, facets, line, metric_reader, pruners
from orchestrator.results.results import Results, Sweep, read
from orchestrator.results.store import ReportError, connect


@pytest.fixture(scope="module")
def results(store: Store) -> Results:
    return read(store.uri, "small")


def test_every_cell_has_its_row(results: Results, store: Store) -> None:
    assert len(results.rows) == 2 * 3 * 3 * 2
    assert len({row.cell.fingerprint for row in results.rows}) == 28  # at 1x three pruners share 2 x 2 trials
    for row in results.rows:
        if row.status == "finished":
            logged = store.logged[row.cell.fingerprint]
            assert {key: row.metrics[key] for key in logged} == logged


def test_holes_say_why(results: Results, store: Store) -> None:
    failed, missing = results.missing
    assert (failed.cell, failed.status) == (store.failed, "failed")
    assert failed.error == "RuntimeError: the loss is not finite in epoch 2"
    assert (missing.cell, missing.status, missing.error) == (store.missing, "not run", "")


def test_lines_take_seeds_together(results: Results, store: Store) -> None:
    facet = Facet("cifar10", "vgg16-bn")
    assert facets(results) == [facet, Facet("cifar10", "resnet20")]
    assert pruners(results) == ["random", "snip", "synflow"]
    point = line(results, facet, "snip", metric_reader("final/top1"))[1]
    seeds = [store.logged[row.cell.fingerprint]["final/top1"] for row in point.rows]
    assert (point.compression, point.values) == (2, tuple(seeds))
    assert point.mean == pytest.approx(sum(seeds) / 2)
    assert point.std == pytest.approx(abs(seeds[0] - seeds[1]) / 2**0.5)


def test_all_pruners_start_at_the_dense_network(results: Results) -> None:
    facet = Facet("cifar10", "vgg16-bn")
    unpruned = dense(results, facet, metric_reader("final/top1"))
    assert unpruned is not None
    for pruner in pruners(results):
        assert line(results, facet, pruner, metric_reader("final/top1"))[0].values == unpruned.values


def test_collapse_is_known(results: Results) -> None:
    collapsed = {(row.cell.pruner, row.cell.compression, row.cell.seed) for row in results.rows if row.collapsed}
    assert collapsed == {("random", 10, 0)}


def test_a_later_sweep_adds_its_cells(store: Store) -> None:
    from mlflow import MlflowClient

    first = build(store.folder, "grown", ["mlp"], ["snip"], [1, 2], [0, 1])
    client = MlflowClient(first.uri)
    before = read(client, "grown")
    first_cell = before.rows[0].cell
    trial = before.trials[first_cell.fingerprint].model_copy(update={"pruner": "snip", "compression": 50.0})
    extra = first_cell.model_copy(update={"compression": 50.0, "fingerprint": trial.fingerprint})
    trials = dict(before.trials) | {trial.fingerprint: trial}
    log_plan(client, before.experiment_id, "grown", [first_cell, extra], trials, "A newer question.")
    after = read(client, "grown")
    assert [row.cell for row in after.rows] == [*(row.cell for row in before.rows), extra]
    assert after.rows[-1].status == "not run"
    assert after.description == "A newer question."


def test_a_finished_run_outlives_a_failed_repetition(store: Store, results: Results) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    row = results.rows[0]
    tags = {"kind": "trial", "fingerprint": row.cell.fingerprint, "error": "out of memory"}
    again = client.create_run(results.experiment_id, tags=tags).info.run_id
    client.set_terminated(again, "FAILED")
    try:
        assert read(client, "small").rows[0].run_id == row.run_id
    finally:
        client.delete_run(again)


def test_a_sweep_killed_while_it_wrote_its_plan_costs_the_others_nothing(store: Store, results: Results) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    run = client.create_run(results.experiment_id, tags={"kind": "sweep", "space": "small"}).info.run_id
    client.log_text(run, '{"cells": [{"data', "plan.json")
    try:
        again = read(client, "small")
        assert [bool(sweep.plan) for sweep in again.sweeps] == [False, True]
        assert len(again.rows) == len(results.rows)
    finally:
        client.delete_run(run)


def test_unknown_experiment_names_the_nearest(store: Store) -> None:
    with pytest.raises(ReportError, match=r"'smal' does not exist; did you mean 'small'\? There are: "):
        read(store.uri, "smal")


def test_nothing_finished(store: Store, results: Results) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    cells = [row.cell for row in results.rows[:2]]
    log_plan(
        client,
        client.create_experiment("early", artifact_location=(store.folder / "early").as_uri()),
        "early",
        cells,
        results.trials,
        "",
    )
    with pytest.raises(ReportError, match=r"no trial has finished yet \(cells: 2 not run\)"):
        read(client, "early")


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="there is no file"):
        connect(f"sqlite:///{tmp_path / 'none.db'}")
    assert list(tmp_path.iterdir()) == []


def test_another_database_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (x)")
    before = other.read_bytes()
    with pytest.raises(ReportError, match="is not an MLflow database"):
        connect(f"sqlite:///{other}")
    assert other.read_bytes() == before


@pytest.mark.parametrize("uri", ["results/mlflow.db", "nonsense://here"])
def test_a_uri_that_is_none(uri: str) -> None:
    with pytest.raises(ReportError, match="is not a tracking store"):
        read(uri, "small")


def test_a_server_that_is_away_is_said_at_once() -> None:
    with pytest.raises(ReportError, match=r"http://127\.0\.0\.1:9 does not answer \(Connection refused\)$"):
        read("http://127.0.0.1:9", "small")


def test_of_several_experiments_each_question_is_told(store: Store) -> None:
    both = read(store.uri, "small")
    other = Sweep("", {}, {"space": "other", "description": "And what of filters?"})
    asked = replace(both, sweeps=(*both.sweeps, other)).description
    assert asked == f"{both.description} And what of filters?"
