"""The mean of the seeds that early stopping left flatters: it is marked where it stands, and compared with nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from invented_sweep import Store

from orchestrator.report.figures import accuracy, against_cost
from orchestrator.report.figures.style import house_style
from orchestrator.report.mlflow_ui.curves import curve_entries
from orchestrator.report.pivots import grids
from orchestrator.report.ranking_text import standings, trust_by_seeds
from orchestrator.report.summary_text import headline
from orchestrator.report.tables import tables
from orchestrator.report.verdicts import panel_verdicts
from orchestrator.results.lines import CurvePoint, facets, flattering, line, metric_reader
from orchestrator.results.results import Results, read
from orchestrator.results.row import Row

PLACE = ("vgg16-bn", "snip", 2.0)  # of two seeds, the second is stopped early


@pytest.fixture(scope="module")
def whole(store: Store) -> Results:
    return read(store.uri, "small")


def stopped(results: Results, which: Callable[[Row], bool]) -> Results:
    rows = (replace(row, status="stopped", error="epoch 1 by asha") if which(row) else row for row in results.rows)
    return replace(results, rows=tuple(rows))


@pytest.fixture(scope="module")
def results(whole: Results) -> Results:
    return stopped(whole, lambda row: (place(row), row.cell.seed) == (PLACE, 1))


def place(row: Row) -> tuple[str, str, float]:
    return row.cell.architecture, row.cell.pruner, row.cell.compression


def point(results: Results) -> CurvePoint:
    [facet] = [facet for facet in facets(results) if facet.architecture == PLACE[0]]
    return next(p for p in line(results, facet, PLACE[1], metric_reader("final/top1")) if p.compression == PLACE[2])


def test_only_a_point_with_some_seeds_left_flatters(whole: Results, results: Results) -> None:
    assert (flattering(whole), flattering(results)) == (0, 1)
    assert point(results).flatters and not point(whole).flatters
    none_left = stopped(whole, lambda row: place(row) == PLACE)
    assert flattering(none_left) == 0
    assert not point(none_left).values


def test_it_is_compared_with_nothing(whole: Results, results: Results) -> None:
    facet = facets(results)[0]
    there = {standing.compression: standing for standing in standings(results, facet)}
    assert "snip" in there[2].missing and "snip" not in there[2].leaders
    assert "snip" not in there[10].missing
    compared, before = (
        {(p.compression, frozenset([p.better, p.worse])) for p in panel_verdicts(of, facet).pairs}
        for of in (results, whole)
    )
    assert before - compared == {found for found in before if found[0] == 2.0 and "snip" in found[1]} != set()
    assert "Some seeds of 1 points were stopped early" in trust_by_seeds(results)
    assert "early stopping" not in trust_by_seeds(whole)


def test_it_is_marked_in_tables_and_figures(whole: Results, results: Results) -> None:
    [entry] = [
        entry
        for quantity, found in grids(results) if quantity.name == "accuracy"
        for grid in found
        for _, entries in grid.rows
        for entry in entries if "(best " in entry.text
    ]  # fmt: skip
    assert entry.text == f"{100 * point(results).values[0]:.1f} (best 1/2)"
    assert not entry.leads
    listed = list(csv.DictReader(io.StringIO(tables(results)["accuracy.csv"])))
    told = {(row["architecture"], row["pruner"]): row["2x stopped"] for row in listed}
    assert told[PLACE[:2]] == "1" and set(told.values()) == {"0", "1"}
    assert "2x stopped" not in tables(whole)["accuracy.csv"]
    with house_style():
        for draw in (accuracy.draw, against_cost.draw_tradeoff):
            [drawing] = draw(results)
            assert "Half-filled" in drawing.caption
            halves = [line for axis in drawing.figure.axes for line in axis.lines if line.get_fillstyle() == "bottom"]
            assert len(halves) == 1
            assert all("Half-filled" not in drawing.caption for drawing in draw(whole))


def test_mlflows_curve_has_no_such_point(whole: Results, results: Results) -> None:
    facet = facets(results)[0]
    assert [step["curve/compression"] for step in curve_entries(whole, facet, "snip")] == [1, 2, 10]
    assert [step["curve/compression"] for step in curve_entries(results, facet, "snip")] == [1, 10]


def test_where_all_is_chosen_the_headline_says_why_it_compares_nothing(whole: Results) -> None:
    chosen = stopped(whole, lambda row: row.cell.seed == 1 and row.cell.compression > 1)
    assert "results of two pruners that early stopping did not choose" in headline(chosen)[0]
