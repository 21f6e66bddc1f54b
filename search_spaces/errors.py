"""The one way in which a question is refused."""

from __future__ import annotations

from collections.abc import Collection
from difflib import SequenceMatcher
from itertools import takewhile


class SpaceError(ValueError):
    """A question that cannot be asked: one sentence with the key, the value and what is allowed."""

    def __init__(self, sentence: str) -> None:
        """What cannot be printed, as the line breaks of a key or a value that is quoted, is written as in Python."""
        super().__init__("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in sentence))


def choose(key: str, value: str, allowed: Collection[str]) -> str:
    """Return `value` if it is one of `allowed`.

    Raises:
        SpaceError: naming the nearest allowed spelling, if one is near, and all that are allowed.
    """
    if value in allowed:
        return value
    near = max(allowed, key=lambda name: _likeness(name, str(value)), default="")
    hint = f"; did you mean '{near}'?" if _likeness(near, str(value))[0] >= 0.5 else "."
    raise SpaceError(f"{key}: '{value}' is not known{hint} Allowed: {', '.join(allowed)}")


def _likeness(name: str, value: str) -> tuple[float, int]:
    """How alike, and of equals how long they begin alike: resnet20, and not resnet32, for resnet21."""
    begin = takewhile(lambda pair: pair[0] == pair[1], zip(name, value, strict=False))
    return SequenceMatcher(None, name, value).ratio(), len(list(begin))
