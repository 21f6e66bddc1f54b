"""The one error this package raises on purpose, and how it words an unknown name."""

from collections.abc import Iterable
from difflib import get_close_matches


class PruningError(ValueError):
    """A request or a score that cannot lead to a mask; the message says what, where and what is allowed."""


def require_known(kind: str, name: object, allowed: Iterable[str]) -> None:
    """Raise PruningError unless `name` is one of `allowed`, with the nearest spelling if there is one."""
    names = list(allowed)
    if name in names:
        return
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    choices = f"choose one of {', '.join(names)}" if names else f"no {kind} is accepted here"
    raise PruningError(f"Unknown {kind} {name!r}: {choices}.{hint}")
