"""Usage lines name the command as it was called; a program beside Python is named so that it can be typed."""

from __future__ import annotations

import sys

import pytest

from orchestrator import sweep
from orchestrator.command_line import program_path
from orchestrator.report import __main__ as report


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("/somewhere/bin/prune-{}", "prune-{}"),
        ("/checkout/orchestrator/{}.py", "python -m orchestrator.{}"),
    ],
)
@pytest.mark.parametrize(("command", "name"), [(sweep, "sweep"), (report, "report")])
def test_the_usage_line(typed, shown, command, name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [typed.format(name)])
    assert command.parser().format_usage().startswith(f"usage: {shown.format(name)} [-h]")


def test_a_program_of_this_environment(tmp_path, monkeypatch):
    home = tmp_path / "checkout" / ".venv" / "bin"
    home.mkdir(parents=True)
    (home / "mlflow").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(home / "python"))
    monkeypatch.chdir(tmp_path / "checkout")
    monkeypatch.setenv("PATH", "/nowhere")
    assert program_path("mlflow") == ".venv/bin/mlflow"
    monkeypatch.chdir(tmp_path / "checkout" / ".venv")
    assert program_path("mlflow") == "bin/mlflow"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert program_path("mlflow") == str(home / "mlflow")
    monkeypatch.setenv("PATH", str(home))
    assert program_path("mlflow") == "mlflow"
    assert program_path("not-installed") == "not-installed"
