"""Scopes in which scores compete: which layers share one budget of kept weights, and how large it is."""

import math
from collections.abc import Mapping
from fractions import Fraction

from torch import Size, Tensor

from pruners.errors import require_known
from search_spaces.density import Density, fraction_of

SCOPES = ("global", "layer", "row", "erk", "smart-ratio", "smart-ratio-vgg")
LINEAR = Fraction(3, 10)  # density of linear layers under smart ratios


def kept_of(n: int, density: Density) -> int:
    """Return how many of n weights a density keeps: exactly n - floor((1 - density) n), at least 1 if density > 0."""
    return n - math.floor((1 - fraction_of(density)) * n)


def budgets(
    scores: Mapping[str, Tensor], density: Density, scope: str, alive: Mapping[str, Tensor] | None
) -> list[tuple[list[str], int]]:
    """Return the groups of layers that compete with each other, and how many weights each group keeps.

    "global" is one group, "layer" gives every layer the same density, "erk" gives small layers more (`erk_counts`), and
    the smart ratios give early layers more (`smart_counts`). These scopes keep the same number in total, except
    "layer", which rounds up in every layer. "row", the same density in every row, has no groups of layers
    (`pruners.selection.select`).
    Raises PruningError for an unknown scope.
    """
    require_known("scope", scope, SCOPES)
    sizes = {name: score.numel() for name, score in scores.items()}
    if scope == "global":
        return [(list(sizes), kept_of(sum(sizes.values()), density))]
    if scope == "layer":
        return [([name], kept_of(n, density)) for name, n in sizes.items()]
    room = sizes if alive is None else {name: int(alive[name].count_nonzero()) for name in sizes}
    shapes = {name: score.shape for name, score in scores.items()}
    total = kept_of(sum(sizes.values()), density)
    counts = erk_counts(shapes, total, room) if scope == "erk" else smart_counts(shapes, total, room, scope)
    return [([name], count) for name, count in counts.items()]


def erk_counts(shapes: Mapping[str, Size], total: int, room: Mapping[str, int]) -> dict[str, int]:
    """Return the weights to keep per layer: densities grow with (in + out + height + width) / (in out height width).

    Evci et al. 2020, section 3 (Erdos-Renyi kernel; Mocanu et al. 2018 for linear layers). A layer for which this is
    more than its `room` (weights alive, at most all) is kept whole, and the excess goes to the others by the same
    rule: clamping alone would keep 0.57 of a ResNet-18 if 0.8 is asked for. The counts add up to exactly `total`, or
    to all of `room` if that is less; the largest fractions are rounded up, earlier layers first.
    """
    total = min(total, sum(room.values()))
    shares = {name: sum(shape) for name, shape in shapes.items()}  # density times size, up to a common factor
    whole: dict[str, int] = {}
    while True:
        weight = sum(share for name, share in shares.items() if name not in whole)
        left = total - sum(whole.values())
        ideal = {name: Fraction(left * share, weight) for name, share in shares.items() if name not in whole}
        full = {name: room[name] for name, count in ideal.items() if count >= room[name]}
        if not full:
            break
        whole |= full
    counts = whole | {name: math.floor(count) for name, count in ideal.items()}
    # Each of the other layers has room for one more weight, as floor(count) <= count < room.
    by_fraction = sorted(ideal, key=lambda name: math.floor(ideal[name]) - ideal[name])
    for name in by_fraction[: total - sum(counts.values())]:
        counts[name] += 1
    return {name: counts[name] for name in shapes}


def smart_counts(shapes: Mapping[str, Size], total: int, room: Mapping[str, int], scope: str) -> dict[str, int]:
    """Return the weights to keep per layer: densities grow with k² + k, k the layer's number from the end.

    Su et al. 2020, section 4.1: layer l of L has k = L - l + 1, in the order of the network, and linear layers have a
    density of 0.3. For "smart-ratio-vgg", k² + k is divided by l². What a layer cannot take goes to the next one after
    it that can. If the other layers cannot take what 0.3 leaves, or if it leaves them nothing, linear layers follow the
    rule for all. The counts add up to exactly `total`, or to all of `room` if that is less: what rounding takes from a
    layer goes to the next one.
    """
    total = min(total, sum(room.values()))
    linear = {
        name: min(room[name], math.floor(LINEAR * shape.numel())) for name, shape in shapes.items() if len(shape) < 3
    }
    rest = total - sum(linear.values())
    if not 0 < rest <= sum(room[name] for name in shapes if name not in linear):
        linear, rest = {}, total
    numbers = {name: (len(shapes) - i, i + 1 if scope == "smart-ratio-vgg" else 1) for i, name in enumerate(shapes)}
    shares = {
        name: Fraction((k * k + k) * shapes[name].numel(), divisor**2)
        for name, (k, divisor) in numbers.items()
        if name not in linear
    }
    counts, over = dict(linear), Fraction(0)
    scale = Fraction(rest) / sum(shares.values())
    for name, share in shares.items():
        asked = share * scale + over
        counts[name] = min(room[name], math.floor(asked))
        over = asked - counts[name]
    for name in shares:  # what the last layers cannot take
        more = min(room[name] - counts[name], total - sum(counts.values()))
        counts[name] += more
    return {name: counts[name] for name in shapes}
