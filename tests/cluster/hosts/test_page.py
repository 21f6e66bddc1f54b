"""Every command of docs/cluster.md is typed by a test of this folder, or the page says that none has run it."""

from __future__ import annotations

import ast
from pathlib import Path

import page


def typed() -> set[str]:
    """Return the commands that the calls of `documented` in this folder name."""
    found = set()
    for file in Path(__file__).parent.glob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", getattr(call.func, "id", "")) == "documented":
                parts = [each.value for each in call.args if isinstance(each, ast.Constant)]
                found |= {page.documented(*map(str, parts))} if parts else set()
    return found


def test_each_command_is_typed_or_said_not_to_be():
    commands, not_run = set(page.commands()), page.not_run()
    assert len(commands) > 30
    unsaid = {command for command in commands - typed() if not any(part in command for part in not_run)}
    assert unsaid == set()
    for part in not_run:
        assert any(part in command for command in commands - typed()), part
