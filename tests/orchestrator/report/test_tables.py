"""The numbers in the tables are MLflow's own."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from statistics import fmean, stdev

import pytest
from invented_sweep import Store

from orchestrator.report.markdown_latex import escape
from orchestrator.report.tables import tables
from orchestrator.results.results import Results, read


@pytest.fixture(scope="module")
def results(store: Store) -> Results:
    return read(store.uri, "small")


def parse(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("accuracy.csv", "final/top1"),
        ("macs.csv", "model/macs_kept"),
        ("params.csv", "model/params_kept"),
        ("latency.csv", "model/latency_ms"),
        ("speedup.csv", "model/speedup"),
    ],
)
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


def shown(results: Results, store: Store, architecture: str, pruner: str, compression: float) -> str:
    """`93.1 ± 0.2`, from the raw runs."""
    values = [
        store.logged[r.cell.fingerprint]["final/top1"]
        for r in results.rows
        if (r.cell.architecture, r.cell.pruner, r.cell.compression) == (architecture, pruner, compression)
    ]
    return f"{100 * fmean(values):.1f} ± {100 * stdev(values):.1f}"


def test_markdown_and_latex_show_the_same(results: Results, store: Store) -> None:
    files = tables(results)
    entry = shown(results, store, "vgg16-bn", "snip", 2)
    dense = shown(results, store, "vgg16-bn", "snip", 1)
    line = next(line for line in files["accuracy.md"].splitlines() if line.startswith("| snip"))
    assert line.replace("**", "").startswith(f"| snip | {dense} | {entry} |")
    latex = files["accuracy.tex"]
    assert entry.replace("±", r"$\pm$") in latex
    for mark in (r"\toprule", r"\midrule", r"\bottomrule", r"\label{tab:accuracy-1}", r"% \usepackage{booktabs}"):
        assert mark in latex
    assert latex.count(r"\begin{table}") == 2
    rows = [row for row in latex.splitlines() if row.endswith(r"\\")]
    assert {row.count("&") for row in rows} == {3}


def test_latex_escapes_what_it_must() -> None:
    assert escape("a_b 50% & #1 {x} ~ \\") == r"a\_b 50\% \& \#1 \{x\} \textasciitilde{} \textbackslash{}"


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


def test_small_numbers_keep_digits_and_no_lead_is_not_bold(results: Results) -> None:
    small = tuple(
        replace(row, metrics={**row.metrics, "model/latency_ms": 0.0725, "final/top1": 0.1})
        if row.status == "finished"
        else row
        for row in results.rows
    )
    files = tables(replace(results, rows=small))
    assert "0.072 ± 0.000" in files["latency.md"]
    assert "**" not in files["accuracy.md"] and "Bold" not in files["accuracy.md"]  # all are equal, and nobody leads
    assert "An asterisk" in files["accuracy.md"] and "best 1/3" not in files["accuracy.md"]
