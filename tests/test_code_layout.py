"""The rules of docs/code-layout.md that a file can break by its imports or its names."""

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
    "mlflow": (
        "orchestrator/tracking/",
        "orchestrator/results/",
        "orchestrator/report/mlflow_ui/",
        "trainables/record/mlflow.py",
    ),
}


def modules(file: Path, types: bool = True) -> set[str]:
    """What a file imports from, anywhere in it; with or without what it imports for type hints only."""
    found = set()
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types:
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found.add(node.module)
    return found


def imported(file: Path, types: bool = True) -> set[str]:
    """The packages from which a file imports that are not Python's own."""
    return {name.partition(".")[0] for name in modules(file, types)} - sys.stdlib_module_names


FILES = [file for folder in BELOW for file in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("folder", BELOW)
def test_imports_run_one_way(folder):
    own = {file: imported(file) for file in FILES if file.is_relative_to(ROOT / folder)}
    assert {str(file): up for file, known in own.items() if (up := known & set(BELOW) - BELOW[folder] - {folder})} == {}
    allowed = OTHERS.get(folder)
    assert allowed is None or set.union(*own.values()) - set(BELOW) <= allowed


@pytest.mark.parametrize("package", ONLY_IN)
def test_ray_and_mlflow_stay_in_their_rooms(package):
    knowing = [file.relative_to(ROOT).as_posix() for file in FILES if package in imported(file, types=False)]
    assert knowing
    assert [file for file in knowing if not file.startswith(ONLY_IN[package])] == []


def test_the_rooms_of_orchestrator_import_downwards():
    table = (ROOT / "docs" / "code-layout.md").read_text().partition("## Packages of")[2].partition("##")[0]
    rows = [re.findall(r"`orchestrator/(\w+)", row) for row in table.splitlines() if row.startswith("| `")]
    floor = {room: number for number, row in enumerate(rows) for room in row}
    up, seen = {}, set()
    for file in (file for file in FILES if file.is_relative_to(ROOT / "orchestrator")):
        room = file.relative_to(ROOT / "orchestrator").with_suffix("").parts[0]
        seen.add(room)
        known = {name.split(".")[1] for name in modules(file) if name.startswith("orchestrator.")}
        up |= {f"{room}/{file.name}": other for other in known if floor.get(other, -1) > floor.get(room, -1)}
    assert up == {}
    assert seen - set(floor) == {"__init__", "command_line", "colors", "environment", "terminal"}


def test_no_two_public_classes_have_the_same_name():
    found: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.parse(file.read_text()).body:
            names = [node.name] if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.Assign):  # an alias of a type is named like a class
                names = [name.id for name in node.targets if isinstance(name, ast.Name) and name.id[0].isupper()]
            for name in names:
                if not name.isupper() and not name.startswith("_"):
                    found.setdefault(name, []).append(str(file.relative_to(ROOT)))
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


# Functions that several modules offer alike, called with the module's name before them: `figure.draw`, `measure.find`.
OFFERED_ALIKE = {"draw", "rows", "sentences"}  # by figures
OFFERED_ALIKE |= {"find", "check"}  # by measures
OFFERED_ALIKE |= {"score", "update"}  # by pruners
OFFERED_ALIKE |= {"describe", "forget"}  # by image sets that are read from files
OFFERED_ALIKE |= {"main", "parser"}  # by commands
OFFERED_ALIKE |= {
    "load",
    "lookup",
    "provide",
    "read",
    "save",
    "show",
}  # the same of any object


def test_a_name_of_functions_means_one_thing():
    found: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(str(file.relative_to(ROOT)))
    assert {name: files for name, files in found.items() if len(files) > 1 and name not in OFFERED_ALIKE} == {}
    assert not {name for name in OFFERED_ALIKE if len(found.get(name, [])) < 2}, "no longer shared"


def test_few_files_are_named_by_a_gerund():
    assert len([file.name for file in FILES if file.stem.endswith("ing")]) <= 5


def test_the_wall_clock_stamps_points_and_measures_nothing():
    """It may be set back. Durations, leases and patience are of `time.monotonic` and `time.perf_counter`."""
    read = {"time", "time_ns", "now", "utcnow", "today"}
    found = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in read and isinstance(node.value, ast.Name):
                found |= {file.relative_to(ROOT).as_posix()} if node.value.id in ("time", "datetime", "date") else set()
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                assert not read & {alias.name for alias in node.names}, f"{file}: write time.time(), to be found"
    assert found == {
        "orchestrator/report/mlflow_ui/curves.py",  # the time of a point in MLflow, as in the next two
        "orchestrator/tracking/audits.py",
        "trainables/record/event_log.py",
        "orchestrator/report/mlflow_ui/view.py",  # when a view was saved
    }


def test_no_two_test_files_have_the_same_name():
    """Pytest imports them by their name alone."""
    names = [file.name for file in (ROOT / "tests").rglob("*.py") if file.name not in ("__init__.py", "conftest.py")]
    assert sorted(names) == sorted(set(names))
