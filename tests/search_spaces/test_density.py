from fractions import Fraction
from math import floor

import pytest

from pruners.scopes import erk_counts, kept_of
from search_spaces.density import compression_of, density_of, fraction_of
from search_spaces.space import validate


def exactly(n, density):
    """How many of n weights are kept, by integers alone."""
    return n - (density.denominator - density.numerator) * n // density.denominator


def test_every_density_and_sparsity_of_four_places_is_read_from_its_compression():
    for k in range(1, 10_001):
        assert density_of(compression_of(Fraction(k, 10_000))) == Fraction(k, 10_000)


@pytest.mark.parametrize(("whole", "step"), [(10_000, 11), (10**6, 997)])
def test_every_way_to_write_a_density_stands_for_that_density(whole, step):
    for k in range(1, whole + 1, step):
        density, typed, sparsity = Fraction(k, whole), k / whole, (whole - k) / whole
        assert fraction_of(typed) == density
        asked = [1 / typed, compression_of(density), density.denominator / density.numerator]
        if whole == 10_000:  # with more places the subtraction loses too many digits
            assert fraction_of(1 - sparsity) == density
            asked.append(1 / (1 - sparsity))
        assert {density_of(compression) for compression in asked} == {density}, (k, asked)


def test_a_density_in_a_space_is_the_same_compression_as_before():
    """Fingerprints hash it. Of the 10,000 densities of four places, 12 digits are enough for all."""
    for k in range(1, 10_001, 3):
        assert compression_of(Fraction(k, 10_000)) == float(f"{1 / (k / 10_000):.12g}")


def test_a_density_of_many_digits_is_written_in_full():
    density = Fraction(999_999, 10**6)
    assert compression_of(density) != 1.000001  # which is another one
    assert density_of(compression_of(density)) == density != density_of(1.000001) == Fraction(10**6, 1_000_001)


def test_compressions_of_up_to_six_digits_are_read_as_written():
    for digits in range(1, 7):
        for places in range(6):
            for number in range(10 ** (digits - 1), 10**digits, 1 + 10**digits // 61):
                exact = Fraction(number, 10**places)
                if exact >= 1:
                    assert density_of(float(exact)) == 1 / exact, exact


@pytest.mark.parametrize("size", [100, 10_000, 36_864, 10**6, 14_710_464])
def test_counts_are_those_of_whole_numbers(size):
    for k in range(1, 10_001, 17):
        density = Fraction(k, 10_000)
        right = exactly(size, density)
        assert kept_of(size, density) == right
        assert kept_of(size, k / 10_000) == right
        assert kept_of(size, density_of(float(f"{10_000 / k:.12g}"))) == right
        assert kept_of(size, density_of(k / 100)) == exactly(size, Fraction(100, k)) if k >= 100 else True


@pytest.mark.parametrize("key", ["density", "sparsity"])
def test_what_a_space_says_is_what_is_counted(key):
    for k in range(1, 1000, 29):
        space = validate({"dataset": "digits", "architecture": "mlp", "pruner": "magnitude", key: k / 1000}, "x")
        (compression,) = space.axes["compression"]
        density = Fraction(k, 1000) if key == "density" else 1 - Fraction(k, 1000)
        assert kept_of(10_000, density_of(compression)) == 10_000 - floor((1 - density) * 10_000)


def test_numbers_that_nobody_rounded_stay_what_they_are():
    assert density_of(Fraction(7, 3)) == Fraction(3, 7)
    assert fraction_of(Fraction(1, 3)) == Fraction(1, 3)
    assert fraction_of(0.0) == 0 and fraction_of(1) == 1
    assert density_of(10**0.25) == 1 / Fraction(repr(10**0.25))
    assert density_of(1e7) == Fraction(1, 10**7)
    assert density_of(12345.678) == Fraction(1000, 12_345_678)


def test_erk_shares_are_compared_exactly():
    """Shares 3/10 and 7/10 of 10 weights: floating point makes 10 * 7 / 10 of it, and in other cases 6.999."""
    shapes = {"a": (1, 2), "b": (3, 4)}
    for total in range(2, 14):
        counts = erk_counts(shapes, total, {"a": 20, "b": 120})
        ideal = {"a": Fraction(total * 3, 10), "b": Fraction(total * 7, 10)}
        assert sum(counts.values()) == total
        assert all(floor(ideal[name]) <= counts[name] <= floor(ideal[name]) + 1 for name in shapes)
        if ideal["a"].denominator == 1:
            assert counts == ideal
