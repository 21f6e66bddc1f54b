"""Every sweep that the documentation or a deployment types is one that the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from orchestrator.sweep import parser
from search_spaces import presets

ROOT = Path(__file__).parent.parent
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "cluster.yaml", *(ROOT / "deploy").glob("*")]
PROGRAM = "python -m orchestrator.sweep"


def typed() -> list[str]:
    """What follows the program's name, up to the end of its line, or of the quotes or backticks around it."""
    found = [yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text(encoding="utf-8"))["spec"]["entrypoint"]]
    for file in TEXTS:
        if file.name == "rayjob.yaml":
            continue
        for line in re.sub(r"\\\n\s*", "", file.read_text(encoding="utf-8")).splitlines():
            for match in re.finditer(re.escape(PROGRAM), line):
                before, after = line[: match.start()], line[match.start() :]
                for mark in "'`\"":
                    if before.count(mark) % 2:
                        after = after.partition(mark)[0]
                found.append(after)
    return found


@pytest.mark.parametrize("command", sorted(set(typed())))
def test_the_program_takes_it(command):
    words = shlex.split(command, comments=True)
    arguments = parser().parse_args(words[words.index("orchestrator.sweep") + 1 :])
    assert arguments.space in presets() or arguments.space.endswith(".yaml") or arguments.space == "SPACE"


def test_there_are_some():
    assert len(set(typed())) > 5


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_of_the_pages_beside_the_readme_lead_somewhere(page):
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / path).exists(), path
