"""The laws of docs/house.md that imports can break."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BELOW = {
    "search_spaces": set(),
    "pruners": {"search_spaces"},
    "trainables": {"search_spaces", "pruners"},
    "orchestrator": {"search_spaces", "pruners", "trainables"},
}
OTHERS = {"search_spaces": {"pydantic", "pydantic_core", "yaml"}, "pruners": {"torch"}}  # of what is not Python's own
ONLY_IN = {"ray": ("orchestrator/driver/", "trainables/on_ray/"), "mlflow": ("orchestrator/", "trainables/tracking.py")}


def imported(file: Path) -> set[str]:
    """The packages from which a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found.add(node.module)
    return {name.partition(".")[0] for name in found} - sys.stdlib_module_names


FILES = [file for folder in BELOW for file in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("folder", BELOW)
def test_imports_run_one_way(folder):
    own = {file: imported(file) for file in FILES if file.is_relative_to(ROOT / folder)}
    assert {str(file): up for file, known in own.items() if (up := known & set(BELOW) - BELOW[folder] - {folder})} == {}
    allowed = OTHERS.get(folder)
    assert allowed is None or set.union(*own.values()) - set(BELOW) <= allowed


@pytest.mark.parametrize("package", ONLY_IN)
def test_ray_and_mlflow_stay_in_their_rooms(package):
    knowing = [file.relative_to(ROOT).as_posix() for file in FILES if package in imported(file)]
    assert knowing
    assert [file for file in knowing if not file.startswith(ONLY_IN[package])] == []
