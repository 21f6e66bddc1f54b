"""Labels that users see: values in one short line, and marks that tell versions of one name apart."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

LONGEST = 40  # characters of one setting's value, so that a title has room for a few
RUN_NAME = 250  # characters of a run's name: the limit of MLflow's databases
MARK = re.compile(r" \([0-9a-f]{6}\)")


def short(value: object, longest: int = LONGEST) -> str:
    """Return a value in one line; a long value is cut, and a hash of all of it appended."""
    text = str(value)
    line = " ".join(text.split()) or text
    if len(line) <= longest:
        return line
    return f"{line[: longest - 7]}~{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def marks(versions: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
    """Return a mark for each (name, hash of its content): " (3f2a91)", or "" if the name has one content only."""
    unique = list(dict.fromkeys(versions))
    contents: dict[str, set[str]] = {}
    for name, content in unique:
        contents.setdefault(name, set()).add(content)
    return {
        (name, content): f" ({content[:6]})" if content and len(contents[name]) > 1 else "" for name, content in unique
    }


def marked(label: str, name: str, mark: str) -> str:
    """Put `mark` behind `name` at the start of `label`, in place of an older mark; return other labels unchanged."""
    if not label.startswith(name):
        return label
    rest = label[len(name) :]
    return f"{name}{mark}{MARK.sub('', rest, count=1) if MARK.match(rest) else rest}"
