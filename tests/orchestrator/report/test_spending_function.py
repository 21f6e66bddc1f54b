"""Bounds over several looks, against published ones and against simulated sums."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from orchestrator.report.spending_function import Looks, levels_at


def test_bounds_are_those_of_the_published_program() -> None:
    """Five equal looks at 5 % two-sided, as Lan and DeMets' program gives them (Reboussin et al. 2000)."""
    bounds = [-float(ndtri(level / 2)) for level in levels_at(0.05, 1, 5)]
    assert bounds == pytest.approx([2.438, 2.427, 2.410, 2.397, 2.386], abs=6e-4)


def test_one_look_spends_the_whole_error() -> None:
    assert levels_at(0.05, 7, 7) == pytest.approx([0.05])
    assert Looks(7, 7).p_value(0.03, 7) == pytest.approx(0.03, rel=0.01)


def test_all_looks_together_err_by_what_was_asked() -> None:
    sums = np.cumsum(np.random.default_rng(0).normal(size=(200_000, 10)), axis=1)[:, 1:]
    bounds = -ndtri(np.array(levels_at(0.05, 2, 10)) / 2) * np.sqrt(np.arange(2, 11))
    assert (np.abs(sums) > bounds).any(axis=1).mean() == pytest.approx(0.05, abs=0.002)


def test_a_p_value_over_the_looks_is_the_error_at_which_this_look_decides() -> None:
    looks = Looks(2, 10)
    for seeds in (2, 5, 10):
        assert looks.p_value(levels_at(0.01, 2, 10)[seeds - 2], seeds) == pytest.approx(0.01, rel=0.02)
        assert looks.p_value(looks.level(0.1, seeds), seeds) == pytest.approx(0.1)
        assert looks.p_value(1e-14, seeds) < 1e-12 and looks.p_value(1.0, seeds) == 1
        assert looks.p_value(0.02, seeds) > 0.02
    assert looks.p_value(1e-9, 1) == 1 and looks.level(0.1, 1) == 0  # before the first look nothing is decided
    assert looks.p_value(0.01, 30) == looks.p_value(0.01, 10)
