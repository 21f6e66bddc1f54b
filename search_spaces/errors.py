"""Error for spaces that are not valid, and the check of a value against the allowed ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher
from itertools import takewhile


class SpaceError(ValueError):
    """Error for a space that is not valid; the message is one sentence with the key, the value and what is allowed."""

    def __init__(self, sentence: str) -> None:
        """Escape characters that cannot be printed, such as line breaks in a quoted key or value, as Python does."""
        super().__init__("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in sentence))


def choose(key: str, value: str, allowed: Collection[str]) -> str:
    """Return `value` if it is one of `allowed`.

    Raises:
        SpaceError: with the nearest allowed spelling, if one is near, and all allowed values.
    """
    if value in allowed:
        return value
    near = nearest(value, allowed)
    hint = f"; did you mean '{near}'?" if near else "."
    raise SpaceError(f"{key}: '{value}' is not known{hint} Allowed: {', '.join(allowed)}")


def nearest(value: object, names: Iterable[str]) -> str:
    """Return the name that is spelled most like `value`; "" if none is spelled much like it."""
    near = max(names, key=lambda name: _likeness(name, str(value)), default="")
    return near if _likeness(near, str(value))[0] >= 0.5 else ""


def _likeness(name: str, value: str) -> tuple[float, int]:
    """Return the similarity of two names and, to decide ties, the length of their common beginning.

    So the suggestion for resnet21 is resnet20, and not resnet32.
    """
    begin = takewhile(lambda pair: pair[0] == pair[1], zip(name, value, strict=False))
    return SequenceMatcher(None, name, value).ratio(), len(list(begin))
