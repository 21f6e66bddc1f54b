"""Fields of published recipes: when two values count as equal, and how a value is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search_spaces import Trial
from search_spaces.phases import STRONG

# What no program does unless its recipe says so, and what trials do by default.
UNSAID = {name: Trial.model_fields[name].default for name in (*STRONG, "accumulate", "ema", "precision")}
STAND_INS = {"cifar10-jpeg75": "cifar10", "cifar10-exact-subset": "cifar10"}
NOT_SAID = "not said"  # by the program; our value then counts as a difference
DIGITS = {"normalisation": 5e-3, "compression": 5e-3}  # relative tolerance: programs give these to three digits


def counterpart(dataset: str) -> str:
    """Return the dataset that `dataset` stands in for: `cifar10` for `cifar10-jpeg75`."""
    return STAND_INS.get(dataset, dataset)


def same(name: str, theirs: Any, ours: Any) -> bool:
    """Return True if two values of the field `name` are the same recipe: equal up to the digits that programs give.

    A list of theirs with a single value of ours holds the values of a study; ours must be one of them.
    """
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        return theirs.keys() == ours.keys() and all(same(name, theirs[key], ours[key]) for key in theirs)
    if _listed(theirs):
        if _listed(ours):
            return len(theirs) == len(ours) and all(same(name, *pair) for pair in zip(theirs, ours, strict=True))
        return any(same(name, value, ours) for value in theirs)
    if isinstance(theirs, int | float) and isinstance(ours, int | float):
        return math.isclose(theirs, ours, rel_tol=DIGITS.get(name, 1e-4))
    return bool(theirs == ours)


def text(name: str, value: Any) -> str:
    """Return a value of the field `name` as text."""
    if isinstance(value, str):
        return value
    if name in WRITERS:
        return WRITERS[name](value)
    if isinstance(value, Sequence):
        return (" and " if isinstance(value[0], str) else " ").join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _changes(rates: Mapping[int, float]) -> str:
    if len(rates) > 8:  # a cosine changes it after every epoch
        return f"{max(rates.values()):g} falling to {list(rates.values())[-1]:g} by epoch {max(rates)}"
    return " → ".join(f"{rate:g}" + (f" from {epoch}" if epoch > 1 else "") for epoch, rate in rates.items())


def _halves(normalisation: Sequence[Sequence[float]]) -> str:
    return " ± ".join(" ".join(f"{number:g}" for number in half) for half in normalisation)


def _compressions(values: Sequence[float]) -> str:
    if len(values) > 4:
        return f"{len(values)} from {values[0]:g}x to {values[-1]:g}x"
    return " ".join(f"{value:g}x" for value in values)


def _altered(augment: Mapping[str, Any]) -> str:
    said = []
    if "pad" in augment:
        said.append(f"crop with a border of {augment['pad']}")
    if "area" in augment:
        area, ratio = ("–".join(f"{end:.3g}" for end in augment[key]) for key in ("area", "ratio"))
        said.append(f"crop of {area} of the area at ratio {ratio}")
    said += ["flip"] * augment.get("flip", False)
    return " and ".join(said) + (" or one or none" if augment.get("some") else "") or "none"


WRITERS: Mapping[str, Callable[[Any], str]] = {
    "learning_rate": _changes,
    "normalisation": _halves,
    "compression": _compressions,
    "augment": _altered,
    "parameters": "{:,}".format,
}
