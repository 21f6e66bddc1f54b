"""Densities as exact fractions of the numbers that users type; weights are counted with these, not with floats.

(1 - 0.8) * 100 is 19.999999999999996 in floating point, and its floor keeps one weight too many.
"""

from fractions import Fraction

Density = float | Fraction  # a float stands for the fraction that `fraction_of` returns

MANY_TIED = 0.05  # share of the kept weights that tie with pruned ones, above which the user is warned

TYPED_DIGITS = 7  # a number of at most this many significant digits is taken as it is written
DECIMAL = Fraction(5, 10**12)  # relative: spaces write the compression of a density or sparsity to 12 digits
ROUNDING = Fraction(4, 10**16)  # relative: two roundings of a float


def fraction_of(number: Density) -> Fraction:
    """Return the fraction that a number stands for: 0.8 is 4/5, 1 - 0.7 is 3/10, 5 / 6 is 5/6.

    A number of at most 7 significant digits is taken as it is written. A longer one is the first of these that fits:
    a decimal of at most 6 digits that agrees with it to 12 digits; a fraction with a denominator of at most 10^6 that
    agrees with it up to two roundings of a float; the decimal that Python prints.
    """
    if isinstance(number, Fraction):
        return number
    exact = _written(number)
    return exact if _is_short(exact) else _simplest(exact)


def density_of(compression: float | Fraction) -> Fraction:
    """Return 1 / `compression`, the fraction of weights kept: 4/5 for 1.25, 7/10 for 1.4285714285714286.

    A compression of at most 7 significant digits is taken as it is written. A longer one may have been computed from
    a density or a sparsity, so its inverse is read as in `fraction_of`.
    """
    if isinstance(compression, Fraction):
        return 1 / compression
    exact = _written(compression)
    return 1 / exact if _is_short(exact) else _simplest(1 / exact)


def compression_of(density: Fraction) -> float:
    """Return the compression from which `density_of` reads this density again: 10.0 for 1/10.

    It is rounded to 12 digits where these suffice, as they always do for densities of up to 4 digits.
    """
    rounded = float(f"{float(1 / density):.12g}")
    return rounded if density_of(rounded) == density else float(1 / density)


def _written(number: float) -> Fraction:
    return Fraction(repr(float(number)))


def _is_short(exact: Fraction) -> bool:
    return Fraction(f"{float(exact):.{TYPED_DIGITS}g}") == exact


def _simplest(exact: Fraction) -> Fraction:
    decimal = Fraction(f"{float(exact):.6g}")
    if abs(decimal / exact - 1) < DECIMAL:
        return decimal
    ratio = exact.limit_denominator(10**6)
    return ratio if abs(ratio / exact - 1) < ROUNDING else exact
