"""README and docs name what exists, leave out nothing that a user may type, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from orchestrator import status, sweep
from orchestrator.audit import __main__ as audit
from orchestrator.planning.catalog import catalog
from orchestrator.report import __main__ as report
from pruners import PRUNERS, Pruner
from search_spaces import load
from search_spaces.space import KEYS

ROOT = Path(__file__).parent.parent
PAPERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in (*PAPERS, *sorted((ROOT / "docs").glob("*.md")))}
COMMANDS = {"sweep": sweep.parser(), "report": report.parser(), "audit": audit.parser(), "status": status.parser()}
OPTIONS = {
    option
    for command in COMMANDS.values()
    for action in command._actions
    for option in action.option_strings
    if option.startswith("--")
}
BLOCKS = [
    pytest.param(block, id=f"{name}-{number}")
    for name, text in PAGES.items()
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
]
TABLE = PAGES["names.md"].partition("## Pruners")[2].partition("\n\n|")[2].partition("\n\n")[0]  # the first there
ROWS = {name: row for row in TABLE.splitlines() for name in PRUNERS if re.match(rf"\|?[^|]*`{name}`", row)}


def test_every_option_in_the_readme_exists():
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGES["README.md"]))
    of_ray = {"--disable-usage-stats"}
    assert used <= OPTIONS | of_ray, used - OPTIONS


@pytest.mark.parametrize("option", sorted(OPTIONS - {"--help", "--version", "--log"}))
def test_every_option_is_explained(option):
    assert f"`{option}" in PAGES["commands.md"]


@pytest.mark.parametrize("name", ROWS)
def test_the_settings_of_a_pruner_are_in_its_row_with_their_defaults(name):
    pruner, row = PRUNERS[name], ROWS[name]
    usual = Pruner(score=pruner.score, summary="", paper="")
    fields = ("scope", "iterations", "mode", "levels")
    unusual = {field: getattr(pruner, field) for field in fields if getattr(pruner, field) != getattr(usual, field)}
    told = re.findall(r"`(\w+: \S+)`", row)
    assert yaml.safe_load("\n".join(told) or "{}") == unusual | pruner.options
    assert all(f"`{option}`" in PAGES["names.md"] for option in pruner.options)


@pytest.mark.parametrize("key", [key for key in KEYS if key not in ("name", "description")] + [*catalog().scopes])
def test_every_field_of_a_space_is_explained(key):
    assert f"`{key}`" in PAGES["spaces.md"] or f"`{key}:`" in PAGES["spaces.md"]


@pytest.mark.parametrize("target", re.findall(r"^(\S+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
def test_every_target_of_make_is_explained(target):
    assert f"`make {target}`" in PAGES["commands.md"]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_space_that_is_shown_is_one(block):
    load({"dataset": "digits", "architecture": "mlp", "pruner": "snip"} | yaml.safe_load(block))


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    folder = ROOT if (ROOT / name).exists() else ROOT / "docs"
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGES[name]):
        assert (folder / path).exists(), path


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", PAGES["code-layout.md"]))))
def test_the_code_layout_is_as_it_is_described(path):
    assert (ROOT / path).exists()
