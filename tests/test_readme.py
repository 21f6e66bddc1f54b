"""README names what exists and leaves out nothing that a user may type."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator import report, sweep
from orchestrator.catalog import catalog
from search_spaces import presets
from search_spaces.space import KEYS
from trainables.architectures import ARCHITECTURES
from trainables.datasets import DATASETS, OWN

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = {"sweep": sweep.parser(), "report": report.parser()}
OPTIONS = {
    option
    for command in COMMANDS.values()
    for action in command._actions
    for option in action.option_strings
    if option.startswith("--")
}


def test_every_option_in_the_readme_exists():
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert used <= OPTIONS, used - OPTIONS


@pytest.mark.parametrize("option", sorted(OPTIONS - {"--help", "--log"}))
def test_every_option_is_in_the_readme(option):
    assert option in README


@pytest.mark.parametrize("name", [*presets(), *catalog().pruners, *ARCHITECTURES, *catalog().scopes, *DATASETS, *OWN])
def test_every_name_a_space_may_use_is_in_the_readme(name):
    assert f"`{name}`" in README or f"name: {name}" in README


@pytest.mark.parametrize("key", [key for key in KEYS if key not in ("name", "description")])
def test_every_field_of_a_space_is_in_the_readme(key):
    assert f"`{key}`" in README or f"`{key}:`" in README


@pytest.mark.parametrize("path", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_every_link_leads_somewhere(path):
    assert (Path(__file__).parent.parent / path).exists()
