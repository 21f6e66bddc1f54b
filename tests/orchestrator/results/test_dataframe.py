"""Results as a DataFrame: one row per cell with typed columns, and MLflow's own numbers."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from invented_sweep import Store

from orchestrator.report.tables import tables
from orchestrator.results import load_results
from orchestrator.results.results import read
from orchestrator.results.store import ReportError


@pytest.fixture(scope="module")
def frame(store: Store) -> pd.DataFrame:
    return load_results("small", store.uri)


def test_columns_have_types(frame: pd.DataFrame) -> None:
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert {kinds[name] for name in ("dataset", "architecture", "pruner", "status")} == {"category"}
    assert (kinds["compression"], kinds["seed"], kinds["collapsed"]) == ("float64", "int64", "boolean")
    assert {kind for name, kind in kinds.items() if "/" in name} == {"float64"}


def test_numbers_are_those_that_were_logged(frame: pd.DataFrame, store: Store) -> None:
    done = frame[frame.status == "finished"]
    assert set(done.fingerprint) == set(store.logged)  # at 1x several cells share one
    for name in ("final/top1", "model/macs_kept", "model/latency_ms"):
        assert done[name].tolist() == [store.logged[fingerprint][name] for fingerprint in done.fingerprint]


def test_what_failed_or_was_not_run_has_a_row_without_numbers(frame: pd.DataFrame, store: Store) -> None:
    failed = frame[frame.fingerprint == store.failed.fingerprint].iloc[0]
    missing = frame[frame.fingerprint == store.missing.fingerprint].iloc[0]
    assert (failed.status, missing.status) == ("failed", "not run")
    assert "the loss is not finite" in failed.error
    assert failed.filter(like="/").isna().all()
    assert pd.isna(missing.collapsed)


def test_it_has_the_rows_and_metrics_of_the_csv(frame: pd.DataFrame, store: Store) -> None:
    from mlflow import MlflowClient

    text = tables(read(MlflowClient(store.uri), "small"))["trials.csv"]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["fingerprint"] for row in rows] == frame.fingerprint.tolist()
    assert {name for name in rows[0] if "/" in name} == {name for name in frame if "/" in name}


def test_a_selection_may_be_by_a_metric(frame: pd.DataFrame, store: Store) -> None:
    limit = float(frame["final/top1"].median())
    some = load_results("small", store.uri, f"final/top1 > {limit!r} and pruner = snip")
    assert set(some.fingerprint) == set(frame[(frame["final/top1"] > limit) & (frame.pruner == "snip")].fingerprint)


def test_an_experiment_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(ReportError, match="smal"):
        load_results("smal", store.uri)
