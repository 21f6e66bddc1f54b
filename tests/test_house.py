"""The laws of docs/house.md that imports can break."""

from __future__ import annotations

import ast
import re
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
OTHERS = {
    "search_spaces": {"pydantic", "pydantic_core", "yaml"},
    "pruners": {"torch", "numpy"},
}  # of what is not Python's own
ONLY_IN = {
    "ray": ("orchestrator/ray_driver/", "trainables/on_ray/"),
    "mlflow": ("orchestrator/", "trainables/record/mlflow.py"),
}


def modules(file: Path) -> set[str]:
    """What a file imports from, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found.add(node.module)
    return found


def imported(file: Path) -> set[str]:
    """The packages from which a file imports that are not Python's own."""
    return {name.partition(".")[0] for name in modules(file)} - sys.stdlib_module_names


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


def test_the_rooms_of_orchestrator_import_downwards():
    table = (ROOT / "docs" / "house.md").read_text().partition("## The rooms of")[2].partition("##")[0]
    rows = [re.findall(r"`orchestrator/(\w+)", row) for row in table.splitlines() if row.startswith("| `")]
    floor = {room: number for number, row in enumerate(rows) for room in row}
    up, seen = {}, set()
    for file in (file for file in FILES if file.is_relative_to(ROOT / "orchestrator")):
        room = file.relative_to(ROOT / "orchestrator").with_suffix("").parts[0]
        seen.add(room)
        known = {name.split(".")[1] for name in modules(file) if name.startswith("orchestrator.")}
        up |= {f"{room}/{file.name}": other for other in known if floor.get(other, -1) > floor.get(room, -1)}
    assert up == {}
    assert seen - set(floor) == {"__init__", "command_line", "colors", "environment"}
