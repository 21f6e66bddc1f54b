"""The numbers in the tables are MLflow's own."""

from __future__ import annotations

import csv
import io
from statistics import fmean, stdev

import pytest
from invented_sweep import Store

from orchestrator.results import Results, read
from orchestrator.tables import tables


@pytest.fixture(scope="module")
def results(store: Store) -> Results:
    return read(store.uri, "small")


def parse(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(("name", "metric"), [("accuracy.csv", "final/top1"), ("macs.csv", "model/macs_kept")])
def test_pivots_equal_what_was_logged(results: Results, store: Store, name: str, metric: str) -> None:
    table = parse(tables(results)[name])
    assert len(table) == 2 * 3
    for row in table:
        for compression in (1, 2, 10):
            runs = [
                r.cell.fingerprint
                for r in results.rows
                if (r.cell.architecture, r.cell.pruner) == (row["architecture"], row["pruner"])
                and r.cell.compression == compression
            ]
            values = [store.logged[run][metric] for run in runs if run in store.logged]
            assert row[f"{compression}x n"] == str(len(values))
            if values:
                assert float(row[f"{compression}x mean"]) == fmean(values)
                assert float(row[f"{compression}x std"]) == stdev(values)


def test_a_hole_is_a_word(results: Results) -> None:
    row = next(row for row in parse(tables(results)["accuracy.csv"]) if row["architecture"] == "resnet20"
               and row["pruner"] == "synflow")  # fmt: skip
    assert (row["10x mean"], row["10x std"], row["10x n"]) == ("failed, not run", "", "0")


def test_trials_hold_every_cell_and_every_number(results: Results, store: Store) -> None:
    table = parse(tables(results)["trials.csv"])
    assert len(table) == len(results.rows)
    for row in table:
        for key, value in store.logged.get(row["fingerprint"], {}).items():
            assert float(row[key]) == value
    failed, missing = table[-2:]
    assert (failed["status"], failed["error"]) == ("failed", "RuntimeError: the loss is not finite in epoch 2")
    assert (failed["final/top1"], missing["status"], missing["run_id"]) == ("", "not run", "")
    assert "test/top1" not in table[0]  # a history, of which one number says nothing
