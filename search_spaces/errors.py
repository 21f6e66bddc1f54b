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


# What people write for a key or a value that has another name here.
SYNONYMS = {
    "batch": "batch_size",
    "bs": "batch_size",
    "data": "dataset",
    "decay": "weight_decay",
    "epoch": "epochs",
    "learning_rate": "lr",
    "lr_scheduler": "lr_schedule",
    "method": "pruner",
    "model": "architecture",
    "net": "architecture",
    "network": "architecture",
    "opt": "optimizer",
    "pruning_ratio": "sparsity",
    "ratio": "compression",
    "scheduler": "lr_schedule",
    "seeds": "seed",
    "structure": "granularity",
    "wd": "weight_decay",
}
SHOWN = 5  # allowed names in a message


def choose(key: str, value: str, allowed: Collection[str]) -> str:
    """Return `value` if it is one of `allowed`.

    Raises:
        SpaceError: with the nearest allowed spelling, if one is near, and the allowed values, or those most like it.
    """
    if value in allowed:
        return value
    near = nearest(value, allowed)
    hint = f"; did you mean '{near}'?" if near else "."
    raise SpaceError(f"{key}: '{value}' is not known{hint} Allowed: {_few(value, allowed)}")


def _few(value: str, allowed: Collection[str]) -> str:
    """Return the allowed names, or of many those that are spelled most like `value`, and how many more there are."""
    if len(allowed) <= SHOWN + 1:
        return ", ".join(allowed)
    like = set(sorted(allowed, key=lambda name: _likeness(name, value))[-SHOWN:])
    shown = [name for name in allowed if name in like]
    return f"{', '.join(shown)} and {len(allowed) - SHOWN} more, which --list or docs/spaces.md names"


def nearest(value: object, names: Iterable[str]) -> str:
    """Return the name that means the same as `value`, else the one that is spelled most like it; "" if none is near."""
    names = list(names)
    if SYNONYMS.get(str(value)) in names:
        return SYNONYMS[str(value)]
    near = max(names, key=lambda name: _likeness(name, str(value)), default="")
    return near if _likeness(near, str(value))[0] >= 0.5 else ""


def _likeness(name: str, value: str) -> tuple[float, int]:
    """Return the similarity of two names and, to decide ties, the length of their common beginning.

    So the suggestion for resnet21 is resnet20, and not resnet32.
    """
    begin = takewhile(lambda pair: pair[0] == pair[1], zip(name, value, strict=False))
    return SequenceMatcher(None, name, value).ratio(), len(list(begin))
