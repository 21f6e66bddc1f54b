"""Tests, corrections and intervals against scipy's own, hand calculations and published examples."""

from __future__ import annotations

import math
from itertools import product
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binomtest, ttest_rel

from orchestrator.report.statistics import (
    VariancePool,
    accuracy_interval,
    difference_in_points,
    expit,
    holm,
    logit,
    mcnemar,
    moderated_mean,
    points,
    pool_variances,
    sign_flips,
    student,
    wilson,
)

NONE = VariancePool()


def test_without_a_pool_it_is_the_paired_t_test() -> None:
    one, other = [2.1, 2.4, 2.2, 2.9], [1.9, 2.0, 2.25, 2.3]
    found = moderated_mean([a - b for a, b in zip(one, other, strict=True)], NONE, of=2)
    expected = ttest_rel(one, other)
    assert found is not None and found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))


def test_a_pool_counts_as_so_many_more_seeds() -> None:
    gaps = [0.5, 0.1]
    found = moderated_mean(gaps, VariancePool(variance=0.02, freedom=4), of=2)  # of a difference: twice that of a cell
    assert found is not None and found.freedom == 5
    assert found.error == pytest.approx(math.sqrt((4 * 0.04 + stdev(gaps) ** 2) / 5 / 2))


def test_no_spread_is_no_certainty() -> None:
    assert moderated_mean([0.2], VariancePool(0.02, 4), of=2) is None
    assert moderated_mean([0.2, 0.2], NONE, of=2) is None
    assert moderated_mean([0.2, 0.2], VariancePool(0.02, 4), of=2) is not None


def test_equal_variances_are_pooled_and_unequal_ones_are_not() -> None:
    dice = np.random.default_rng(0)
    equal = [(float(value), 4) for value in dice.chisquare(4, 200) / 4 * 0.09]
    pool = pool_variances(equal)
    assert pool.variance == pytest.approx(0.09, rel=0.1) and pool.freedom > 20 and pool.cells == 200
    unequal = [(value * 100**place, freedom) for (value, freedom), place in zip(equal, dice.random(200), strict=True)]
    assert pool_variances(unequal).freedom < 4
    assert pool_variances([(0.09, 4), (0.08, 4)]).freedom == 0  # two cells say nothing of their scatter
    assert pool_variances([(0.0, 1)] * 9 + [(0.09, 1)]).cells == 1  # networks that all guess have no spread


def test_an_outlier_is_not_pooled() -> None:
    dice = np.random.default_rng(2)
    equal = [(float(value), 2) for value in dice.chisquare(2, 20) / 2 * 0.01]
    with_outlier = pool_variances([*equal, (9.0, 2)])
    assert with_outlier == pool_variances(equal) or with_outlier.cells == 20
    assert with_outlier.variance == pytest.approx(0.01, rel=0.5) and not with_outlier.fits(9.0, 2)
    alone, pooled = moderated_mean([3.0, 0.0], NONE, of=1), moderated_mean([3.0, 0.0], with_outlier, of=1)
    assert alone == pooled


def test_smyths_estimates_find_a_known_prior() -> None:
    dice = np.random.default_rng(1)
    freedom, common, own, cells = 6.0, 0.04, 4, 20_000
    true = freedom * common / dice.chisquare(freedom, cells)
    found = pool_variances([(float(value), own) for value in true * dice.chisquare(own, cells) / own])
    assert found.variance == pytest.approx(common, rel=0.03) and found.freedom == pytest.approx(freedom, rel=0.15)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 9), (30, 12), (7, 7)])
def test_mcnemars_exact_test_is_the_binomial_one(one: int, other: int) -> None:
    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(expected)
    assert sign_flips(np.array([1] * one + [-1] * other + [0] * 20)) == pytest.approx(expected)


def test_sign_flips_count_every_flip() -> None:
    differences = np.array([3, 2, 2, 1, -1, -1, 0])
    sizes = np.abs(differences)
    sums = [abs(sum(sign * size for sign, size in zip(signs, sizes, strict=True)))
            for signs in product([1, -1], repeat=len(sizes))]  # fmt: skip
    assert sign_flips(differences) == pytest.approx(fmean(total >= differences.sum() for total in sums))


def test_with_many_images_the_normal_distribution_takes_over_smoothly() -> None:
    exact, normal = np.array([1] * 34 + [-1] * 16), np.array([1] * 35 + [-1] * 16)
    assert sign_flips(exact) == pytest.approx(mcnemar(34, 16))
    assert sign_flips(normal) == pytest.approx(mcnemar(35, 16), rel=0.1)
    assert sign_flips(normal) == pytest.approx(2 * ndtr(-18 / math.sqrt(51)))


def test_holms_own_order() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize(("right", "images"), [(0, 10), (352, 360), (360, 360)])
def test_wilsons_interval(right: int, images: int) -> None:
    expected = binomtest(right, images).proportion_ci(method="wilson")
    assert wilson(right, images) == pytest.approx(tuple(expected), abs=1e-9)


def test_intervals_stay_within_what_is_possible() -> None:
    for values in ([0.999, 0.2], [1.0, 0.9], [0.0, 0.5]):
        found = accuracy_interval(values, NONE, 360)
        assert found is not None and 0 <= found[0] < found[1] <= 1
    assert accuracy_interval([0.97], NONE, 100) == wilson(97, 100)
    assert accuracy_interval([0.97], NONE, 0) is None
    assert -1 <= difference_in_points(0.0, -40.0) < difference_in_points(0.0, 40.0) <= 1


def test_logits_stay_finite_and_are_undone() -> None:
    assert expit(logit(0.93, 360)) == pytest.approx(0.93) and expit(logit(0.03, 360)) == pytest.approx(0.03)
    assert expit(logit(1.0, 360)) == pytest.approx(1 - 0.5 / 360)
    assert expit(-800.0) == 0.0 and expit(800.0) == 1.0


def test_points_are_in_the_order_of_size_and_a_small_one_does_not_look_like_none() -> None:
    assert points(0.0002, 0.0038) == "0.02 to 0.38 points"
    assert points(0.034, 0.012) == "1.2 to 3.4 points" and points(0.0, 0.0) == "0.0 points"


def test_students_t() -> None:
    table = {1: 12.706, 2: 4.303, 30: 2.042, 120: 1.980}  # of any textbook
    assert {freedom: round(student(freedom, 0.975), 3) for freedom in table} == table
