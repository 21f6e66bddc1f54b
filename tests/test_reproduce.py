"""docs/reproduce.md has a line for every recipe of a paper, and each line is a command that the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from orchestrator.sweep import parser
from search_spaces import load, presets

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\| [^|]+ \| `([^`]+)` \|", PAGE, re.MULTILINE)
PAPERS = sorted(file.stem for file in (ROOT / "search_spaces" / "papers").glob("*.yaml"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_line_is_a_command(command):
    asked = parser().parse_args(shlex.split(command))
    assert asked.space in presets()
    load(asked.space, asked.overrides)


def test_every_recipe_of_a_paper_has_one_line():
    assert sorted(command.split()[0] for command in COMMANDS) == PAPERS
