"""The commands of docs/cluster.md, for tests that type them as a user copies them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
# The section that lists parts of them.
NOT_RUN = re.compile(r"^### Commands that no test has run$.*?(?=^#)", re.M | re.S)
FENCED = re.compile(r"^```\n(.*?)^```", re.M | re.S)
# Inside a paragraph: what begins with a program, an option of it, and does not only name it (`ray up`).
INLINE = re.compile(
    r"(?:[A-Za-z_0-9]+=\S+ )*(?:\S*/)?(?:apptainer|aws|cat|chmod|cp|docker|head\.sh|kubectl|make|mlflow|pg_dump|pip|"
    r"python|ray (?!job\b)[\w-]+|sbatch) \S.*"
)


def commands() -> list[str]:
    """Return all commands of the page: those that are set apart, and those inside paragraphs and tables."""
    text = FENCED.sub(lambda block: re.sub(r"^(?=.)", "    ", block[1], flags=re.M), NOT_RUN.sub("", DOCS))
    apart = re.findall(r"^ {4}(\S.*)$", text, re.M)
    inside = re.findall(r"`([^`]+)`", re.sub(r"^ {4}\S.*$", "", text, flags=re.M))
    return list(dict.fromkeys([*apart, *filter(INLINE.fullmatch, (" ".join(each.split()) for each in inside))]))


def not_run() -> list[str]:
    """Return the parts of commands that the page lists as never run by a test."""
    section = NOT_RUN.search(DOCS)
    assert section is not None
    return re.findall(r"`([^`\n]+)`", section[0])


def documented(*parts: str) -> str:
    """Return the command that contains all `parts`; if several do, the one that is, or begins with, the first part."""
    found = [line for line in commands() if all(part in line for part in parts)]
    for closer in (str.startswith, str.__eq__):
        found = [line for line in found if closer(line, parts[0])] if len(found) > 1 else found
    assert len(found) == 1, (parts, found)
    return found[0]
