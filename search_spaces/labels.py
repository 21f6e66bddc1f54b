"""How people call what is the user's own: in one short line, and versions of one thing apart by a hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

LONGEST = 40  # characters of one setting's value: a title has room for a few of them
RUN_NAME = 250  # of a run's name: the longest that MLflow's databases take
MARK = re.compile(r" \([0-9a-f]{6}\)")


def short(value: object, longest: int = LONGEST) -> str:
    """Return a value in one line; a long one as its beginning and a hash of all of it."""
    text = str(value)
    line = " ".join(text.split()) or text
    if len(line) <= longest:
        return line
    return f"{line[: longest - 7]}~{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def marks(versions: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
    """Return what follows the name of each (name, hash of its content): "" where all of one name are equal."""
    unique = list(dict.fromkeys(versions))
    contents: dict[str, set[str]] = {}
    for name, content in unique:
        contents.setdefault(name, set()).add(content)
    return {
        (name, content): f" ({content[:6]})" if content and len(contents[name]) > 1 else "" for name, content in unique
    }


def marked(label: str, name: str, mark: str) -> str:
    """Return a label that begins with `name` with this mark behind the name, in the place of another one."""
    if not label.startswith(name):
        return label
    rest = label[len(name) :]
    return f"{name}{mark}{MARK.sub('', rest, count=1) if MARK.match(rest) else rest}"
