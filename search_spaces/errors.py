"""The one way in which a question is refused."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


class SpaceError(ValueError):
    """A question that cannot be asked: one sentence with the key, the value and what is allowed."""


def choose(key: str, value: str, allowed: Collection[str]) -> str:
    """Return `value` if it is one of `allowed`.

    Raises:
        SpaceError: naming the nearest allowed spelling, if one is near, and all that are allowed.
    """
    if value in allowed:
        return value
    near = get_close_matches(str(value), allowed, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    raise SpaceError(f"{key}: '{value}' is not known{hint} Allowed: {', '.join(allowed)}")
