"""The one way in which a question is refused."""

from __future__ import annotations

from collections.abc import Collection
from difflib import SequenceMatcher


class SpaceError(ValueError):
    """A question that cannot be asked: one sentence with the key, the value and what is allowed."""


def choose(key: str, value: str, allowed: Collection[str]) -> str:
    """Return `value` if it is one of `allowed`.

    Raises:
        SpaceError: naming the nearest allowed spelling, if one is near, and all that are allowed.
    """
    if value in allowed:
        return value
    likeness = {name: SequenceMatcher(None, name, str(value)).ratio() for name in allowed}
    near = max(likeness, key=lambda name: likeness[name], default="")  # the first of equals: resnet20 for resnet21
    hint = f"; did you mean '{near}'?" if likeness.get(near, 0) >= 0.5 else "."
    raise SpaceError(f"{key}: '{value}' is not known{hint} Allowed: {', '.join(allowed)}")
