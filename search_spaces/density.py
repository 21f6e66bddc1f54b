"""Densities as exact fractions of what the user typed: counts are made in these, not in floating point.

(1 - 0.8) * 100 is 19.999999999999996 in floating point, and its floor keeps one weight too many.
"""

from fractions import Fraction

Density = float | Fraction  # of a float it is the fraction that it stands for

MANY_TIED = 0.05  # share of the kept weights that tie with pruned ones, above which a notice says so

TYPED_DIGITS = 7  # a number of at most so many significant digits is taken as it is written
DECIMAL = Fraction(5, 10**12)  # relative: spaces write the compression of a density or sparsity to 12 digits
ROUNDING = Fraction(4, 10**16)  # relative: two roundings of a float


def fraction_of(number: Density) -> Fraction:
    """Return the fraction that a number stands for: 0.8 is 4/5, 1 - 0.7 is 3/10, 5 / 6 is 5/6.

    A number with more than 7 digits is a decimal of at most 6 digits if it is that to 12 digits, else a fraction
    whose denominator is at most 10^6 if it is that to the last bit but one, and else the decimal that Python prints.
    """
    if isinstance(number, Fraction):
        return number
    exact = _written(number)
    return exact if _is_short(exact) else _simplest(exact)


def density_of(compression: float | Fraction) -> Fraction:
    """Return 1 / `compression`, the fraction of weights kept: of 1.25 it is 4/5, of 1.4285714285714286 it is 7/10.

    The compression is read as it is written if that takes at most 7 digits. If not, it may come from a density or a
    sparsity, and then those are what it stands for, read as in `fraction_of`.
    """
    if isinstance(compression, Fraction):
        return 1 / compression
    exact = _written(compression)
    return 1 / exact if _is_short(exact) else _simplest(1 / exact)


def compression_of(density: Fraction) -> float:
    """Return the compression of a density, from which `density_of` reads that density again: 10.0 of 1/10.

    To 12 digits where these suffice, as always for densities of up to 4 digits.
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
