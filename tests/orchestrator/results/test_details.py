"""Artifacts and histories in bulk: the same as one by one, from a file and from a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from invented_sweep import Store
from mlflow import MlflowClient

from benchmarks.large_store import build
from benchmarks.report import served
from orchestrator.results import details
from orchestrator.results.details import Details
from orchestrator.results.lines import facets, pruners
from orchestrator.results.results import Results, read
from orchestrator.results.store import connect


@pytest.fixture(scope="module")
def results(store: Store) -> Results:
    return read(store.uri, "small")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("large")
    build(folder, "large", trials=6, epochs=4, remote=True)
    with served(folder) as uri:
        yield uri


def one_by_one(client: MlflowClient, run_ids: list[str]) -> dict[str, dict[int, float]]:
    return {run: {m.step: m.value for m in client.get_metric_history(run, "test/top1")} for run in run_ids}


def test_histories_are_those_of_the_runs(results: Results, store: Store) -> None:
    run_ids = sorted({row.run_id for row in results.rows if row.run_id})
    assert results.details.histories(run_ids, "test/top1") == one_by_one(MlflowClient(store.uri), run_ids)
    assert results.details.histories(run_ids[:1], "no/such") == {run_ids[0]: {}}


def test_artifacts_are_read_once(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    run_ids = [row.run_id for row in results.rows if row.status == "finished"][:3]
    asked: list[str] = []
    original = details.read_json
    monkeypatch.setattr(details, "read_json", lambda *given: (asked.append(given[1]), original(*given))[1])
    mine = Details(results.details.client, results.details.uris)
    first = mine.artifacts([*run_ids, *run_ids], "layers.json")
    assert mine.artifact(run_ids[0], "layers.json") == first[run_ids[0]] is not None
    assert mine.artifact(run_ids[0], "nothing.json") is None
    assert len(asked) == 4


@pytest.mark.slow
def test_a_server_is_asked_in_bulk(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = read(server, "large")
    assert (len(results.rows), len(facets(results)), pruners(results)) == (6, 1, ["random"])
    run_ids = [row.run_id for row in results.rows]
    client = connect(server)
    expected = one_by_one(client, run_ids)
    monkeypatch.setattr(MlflowClient, "get_metric_history", None)  # a request per run would fail
    assert results.details.histories(run_ids, "test/top1") == expected
    assert [len(history) for history in expected.values()] == [4] * 6
    layers = results.details.artifacts(run_ids, "layers.json")
    assert all(len(table["data"]) == 20 for table in layers.values())
    assert results.details.artifact(run_ids[0], "nothing.json") is None


@pytest.mark.slow
def test_answers_that_were_cut_off_are_asked_again(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(details, "POINTS", 9)  # two runs and a bit
    results = read(server, "large")
    run_ids = [row.run_id for row in results.rows]
    assert results.details.histories(run_ids, "test/top1") == one_by_one(connect(server), run_ids)


def test_a_large_store_can_be_read_without_a_server(tmp_path: Path) -> None:
    results = read(build(tmp_path, "large", trials=3, epochs=2, remote=False), "large")
    assert [row.status for row in results.rows] == ["finished"] * 3
    assert results.details.artifact(results.rows[0].run_id, "scores.json") is not None
