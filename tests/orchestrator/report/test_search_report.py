"""The report of a search: what was tried is shown and counted, and never taken for a result."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import pytest
from invented_search import PLACES, SEEDS, TRIALS, Made

from orchestrator.report.page import page
from orchestrator.report.search_tables import search_words
from orchestrator.report.summary_text import headline
from orchestrator.report.tables import tables
from orchestrator.results.lines import compressions, facets, pruners, rows_at
from orchestrator.results.results import Results, read
from orchestrator.results.where_filter import where


@pytest.fixture(scope="module")
def results(searched: Made) -> Results:
    return read(searched.uri, "searched")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_what_was_tried_is_no_repetition_and_no_result(results: Results, searched: Made) -> None:
    assert len(results.tried) == 2 * (TRIALS + 2)
    assert not {row.cell.fingerprint for row in results.tried} & {row.cell.fingerprint for row in results.rows}
    places = [
        rows_at(results, facet, pruner, compression)
        for facet in facets(results)
        for pruner in pruners(results)
        for compression in compressions(results, facet)
    ]
    for rows in filter(None, places):  # the grid's learning rate and the searched one are never one point
        assert len({row.cell.study for row in rows}) == 1
    titles = {facet.title for facet in facets(results)}
    assert titles == {"conv · digits · lr=0.1", "conv · digits · lr=searched"}


def test_every_trial_is_listed_with_how_it_ended(results: Results, searched: Made) -> None:
    listed = rows_of(tables(results)["search.csv"])
    for study, tried in searched.tried.items():
        mine = [row for row in listed if row["study"] == study]
        assert [float(row["lr"]) for row in mine] == [lr for lr, _ in tried]
        assert [row["validation/top1"] for row in mine] == ["" if top is None else repr(top) for _, top in tried]
        assert mine[3]["status"] == "stopped" and "epoch 2 by asha" in mine[3]["why"]
        assert mine[5]["status"] == "failed" and mine[5]["why"] == "ValueError: no"
        best = max(top for _, top in tried if top is not None)
        assert [row["validation/top1"] for row in mine if row["best"]] == [repr(best)]


def test_best_settings_with_their_spread_over_fresh_seeds(results: Results, searched: Made) -> None:
    listed = rows_of(tables(results)["best-settings.csv"])
    assert len(listed) == len(PLACES)
    for row in listed:
        tops = list(searched.test[row["pruner"].partition(" ")[0]].values())
        tried = searched.tried[f"digits conv {row['pruner'].partition(' ')[0]} 4x"]
        lr, best = max(((lr, top) for lr, top in tried if top is not None), key=lambda one: one[1])
        assert (float(row["lr"]), float(row["its value"])) == (lr, best)
        assert (row["n"], row["of"], row["trials"]) == ("3", "3", str(TRIALS + 2))
        assert float(row["test top1 mean"]) == pytest.approx(fmean(tops))
        assert float(row["test top1 std"]) == pytest.approx(stdev(tops))


def test_pairs_have_an_interval_over_the_fresh_seeds(results: Results, searched: Made) -> None:
    [row] = rows_of(tables(results)["pairs.csv"])
    gaps = [100 * (searched.test["snip"][seed] - searched.test["synflow"][seed]) for seed in SEEDS]
    assert {row["better"].partition(" ")[0], row["worse"].partition(" ")[0]} == {"snip", "synflow"}
    assert float(row["difference"]) == pytest.approx(abs(fmean(gaps)), abs=0.01)
    low, high = float(row["95 % from"]), float(row["to"])
    assert low < float(row["difference"]) < high and row["seeds"] == str(len(SEEDS))
    # One pair alone: nothing to pool and nothing to correct for, so that interval and verdict are those of one test.
    assert (row["verdict"] == "no difference is shown") == (low <= 0) == (float(row["p over seeds"]) > 0.05)


def test_the_answer_says_what_was_tuned_on_what(results: Results) -> None:
    said = " ".join(headline(results))
    assert "Tuned: lr and pruner.iterations, for validation/top1 on 20 % of the training images" in said
    assert f"2 studies of {TRIALS + 2} trials each (tpe)" in said
    assert "2 were stopped early and 2 failed" in said
    assert "run again with 3 fresh seeds" in said


def test_a_selection_selects_what_was_tried_too(results: Results) -> None:
    assert {row.cell.pruner.partition(" ")[0] for row in where(results, "pruner = snip").tried} == {"snip"}


def test_the_page_has_a_section_only_where_something_was_searched(results: Results, store: Any) -> None:
    assert '<section id="search">' in page(results, [], "sqlite:///x")
    plain = page(read(store.uri, "small"), [], "sqlite:///x")
    assert '<section id="search">' not in plain and "search.csv" not in plain


def test_studies_that_had_nothing_more_to_try_say_so(results: Results, searched: Made) -> None:
    for names, said in (
        (list(searched.tried), "Each tried every setting there is"),
        (list(searched.tried)[:1], "1 of them tried every setting there is"),
        ([], None),
    ):
        sweeps = tuple(
            replace(sweep, plan={**sweep.plan, "search": {**sweep.plan["search"], "all_tried": names}})
            if "search" in sweep.plan
            else sweep
            for sweep in results.sweeps
        )
        words = search_words(replace(results, sweeps=sweeps))
        assert any(f"{said}, so further trials would only repeat results." in sentence for sentence in words) is bool(
            names
        )
