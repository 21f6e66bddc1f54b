"""Intervals over seeds, and the sentences that rest on them."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean, stdev

import pytest
from invented_sweep import Store, build

from orchestrator.report.ranking_text import Ranking, _beats, care
from orchestrator.report.statistics import SeedDifference, difference, points, t95
from orchestrator.report.summary_text import _leaders, headline
from orchestrator.results.lines import CurvePoint, Facet, metric
from orchestrator.results.results import read
from orchestrator.results.row import Row
from search_spaces import Cell

TOP1 = metric("final/top1")


def point(*values: float, first_seed: int = 0) -> CurvePoint:
    rows = []
    for seed, value in enumerate(values, first_seed):
        cell = Cell(dataset="d", architecture="a", pruner="p", compression=2, seed=seed, fingerprint="")
        rows.append(Row(cell, "finished", metrics={"final/top1": value}))
    return CurvePoint(2, values, tuple(rows))


def test_the_interval_is_students_over_paired_seeds() -> None:
    one, other = point(0.93, 0.95, 0.94), point(0.92, 0.93, 0.935)
    found = difference(one, other, TOP1)
    gaps = [0.93 - 0.92, 0.95 - 0.93, 0.94 - 0.935]
    reach = 4.302653 * stdev(gaps) / 3**0.5
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((fmean(gaps), fmean(gaps) - reach, fmean(gaps) + reach))
    assert not found.shown  # three seeds do not show a point and a half of difference here


def test_seeds_that_the_other_lacks_do_not_count() -> None:
    found = difference(point(0.9, 0.8, 0.7), point(0.6, 0.6, first_seed=1), TOP1)
    assert found is not None
    assert found.seeds == 2 and found.mean == pytest.approx(0.15)
    assert difference(point(0.9), point(0.8), TOP1) is None


def test_zero_within_the_interval_is_no_lead() -> None:
    assert not _beats(point(0.93, 0.95, 0.94), point(0.92, 0.93, 0.935))
    assert _beats(point(0.93, 0.95, 0.94), point(0.90, 0.92, 0.911))
    assert _beats(point(0.93), point(0.91)) and not _beats(point(0.93), point(0.925))  # one seed: a fixed margin


def test_seeds_that_agree_by_luck_are_no_certainty() -> None:
    gap = difference(point(0.93, 0.95), point(0.928, 0.948), TOP1)
    assert gap is not None and gap.even and not gap.shown
    assert str(gap) == "the same in 2 seeds, so without an interval"
    assert not _beats(point(0.93, 0.95), point(0.928, 0.948)) and _beats(point(0.93, 0.95), point(0.90, 0.92))


def test_a_small_difference_does_not_look_like_none() -> None:
    assert str(SeedDifference(0.002, 0.0002, 0.0038, 3)) == "95 % interval 0.02 to 0.38 points over 3 seeds"
    assert points(0.012, 0.034) == "1.2 to 3.4 points" and points(0.0, 0.0) == "0.0 points"


def test_students_t() -> None:
    table = {1: 12.706, 2: 4.303, 30: 2.042, 120: 1.980}  # of any textbook
    assert {freedom: round(t95(freedom), 3) for freedom in table} == table


def test_the_answer_is_three_sentences(store: Store) -> None:
    build(store.folder, "decided", ["mlp"], ["random", "snip", "synflow"], [1, 10, 100], [0, 1, 2, 3], layers=2)
    results = read(store.uri, "decided")
    leads, largest, collapsed = headline(results)
    assert leads.startswith("synflow is in front in 2 of 2 comparisons (alone in 1)")
    assert leads.endswith(
        "A comparison is a network on a dataset at a compression; pruners tied with the best share first place."
    )
    assert "over" in largest and "95 % interval" in largest
    assert collapsed.endswith("with random from 10x; never with snip and synflow.")
    assert "no difference is shown" in care(results)


def test_who_is_in_front_as_often_is_not_said_to_be_less_often() -> None:
    def standing(*leaders: str) -> tuple[Facet, Ranking]:
        return Facet("digits", "mlp"), Ranking(10, leaders, (), CurvePoint(10, (), ()), "z", 0.1, None, ())

    equal = _leaders([standing("a", "b", "c", "d", "e")])
    assert equal.startswith("a is in front in 1 of 1 comparison, b in 1, c in 1, and 2 others as well.")
    unequal = _leaders([standing("a", "b", "c", "d"), standing("a", "b", "c")])
    assert unequal.startswith("a is in front in 2 of 2 comparisons, b in 2, c in 2, others less often.")


def test_one_seed_claims_no_interval(store: Store) -> None:
    results = read(store.uri, "small")
    alone = replace(results, rows=tuple(row for row in results.rows if row.cell.seed == 1))
    said = " ".join(headline(alone))
    assert "95 %" not in said and "No network collapsed" in said
    assert care(alone).startswith("One seed")


def test_nothing_to_compare(store: Store) -> None:
    results = read(store.uri, "small")
    alone = replace(results, rows=tuple(row for row in results.rows if row.cell.pruner == "snip"))
    assert headline(alone) == ["Nothing to compare: no compression above 1x has results of two pruners."]
