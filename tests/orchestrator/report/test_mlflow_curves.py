"""Curve runs follow the results, and are written only when those change."""

from __future__ import annotations

import pytest
from invented_sweep import Store, build
from mlflow import MlflowClient

from orchestrator.colors import look
from orchestrator.report.mlflow_ui.curves import log_curves
from orchestrator.results.results import Results, read


@pytest.fixture(scope="module")
def written(store: Store) -> tuple[MlflowClient, Results, list[str]]:
    made = build(store.folder, "lines", ["mlp"], ["snip", "synflow"], [1, 2, 10], [0, 1])
    client = MlflowClient(made.uri)
    results = read(client, "lines")
    return client, results, log_curves(client, results)


def curves(client: MlflowClient, results: Results) -> dict[str, str]:
    runs = client.search_runs([results.experiment_id], "tags.kind = 'curve'")
    return {run.data.params["pruner"]: run.info.run_id for run in runs}


def test_one_run_per_pruner_one_step_per_compression(written: tuple[MlflowClient, Results, list[str]]) -> None:
    client, results, ids = written
    found = curves(client, results)
    assert set(found) == {"snip", "synflow"} and set(found.values()) == set(ids)
    history = client.get_metric_history(found["snip"], "curve/compression")
    assert [(point.step, point.value) for point in history] == [(0, 1), (1, 2), (2, 10)]
    top1 = [point.value for point in client.get_metric_history(found["snip"], "curve/top1")]
    for compression, mean in zip((1, 2, 10), top1, strict=True):
        seeds = [
            row.metrics["final/top1"]
            for row in results.rows
            if (row.cell.pruner, row.cell.compression) == ("snip", compression)
        ]
        assert mean == pytest.approx(sum(seeds) / 2)
    assert client.get_run(found["snip"]).data.tags["mlflow.runColor"] == look("snip").color
    holes = client.get_metric_history(found["synflow"], "curve/compression")
    assert [point.value for point in holes] == [1, 2]  # at 10x one seed failed and one was not run


def test_found_again_however_many_there_are(
    written: tuple[MlflowClient, Results, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, results, ids = written
    monkeypatch.setattr(
        "orchestrator.results.store.PAGE", 1
    )  # of runs in an answer; a store with thousands has many pages
    assert log_curves(client, results) == ids
    assert set(curves(client, results).values()) == set(ids)


def test_written_once(written: tuple[MlflowClient, Results, list[str]]) -> None:
    client, results, ids = written
    assert log_curves(client, results) == ids
    assert set(curves(client, results).values()) == set(ids)


def test_they_are_below_the_newest_sweep_and_not_on_mlflows_first_screen(
    written: tuple[MlflowClient, Results, list[str]],
) -> None:
    client, results, ids = written
    client.delete_tag(ids[0], "mlflow.parentRunId")  # as those of earlier versions
    assert log_curves(client, results) == ids
    roots = [
        run.info.run_id
        for run in client.search_runs([results.experiment_id])
        if "mlflow.parentRunId" not in run.data.tags
    ]
    assert roots == [sweep.run_id for sweep in results.sweeps]


def test_a_changed_value_replaces_only_its_curve(written: tuple[MlflowClient, Results, list[str]]) -> None:
    client, results, _ = written
    before = curves(client, results)
    row = next(row for row in results.rows if (row.cell.pruner, row.cell.compression) == ("snip", 10))
    client.log_metric(row.run_id, "final/top1", 0.5, step=1)
    log_curves(client, read(client, "lines"))
    after = curves(client, results)
    assert after["synflow"] == before["synflow"]
    assert after["snip"] != before["snip"]
    assert len(client.get_metric_history(after["snip"], "curve/top1")) == 3


def test_half_written_curves_are_written_again(store: Store) -> None:
    made = build(store.folder, "half", ["mlp"], ["snip"], [1, 2], [0, 1])
    client = MlflowClient(made.uri)
    results = read(client, "half")
    (first,) = log_curves(client, results)
    client.update_run(first, status="RUNNING")
    (second,) = log_curves(client, results)
    assert second != first
    assert list(curves(client, results).values()) == [second]
