"""Who asks for help or a version, or only reads results, does not wait for the libraries that compute them."""

import subprocess
import sys

import pytest

OF_TRIALS = ("torch", "torchvision", "ray", "optuna", "mlflow")
HEAVY = (*OF_TRIALS, "pandas", "matplotlib", "scipy", "pydantic")


def loaded(code: str, names: tuple[str, ...]) -> str:
    code += f"; import sys; print([name for name in {names} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_report_starts_without_what_trains_and_searches():
    assert loaded("import orchestrator.report.write", OF_TRIALS) == "[]"


@pytest.mark.parametrize("command", ["sweep", "report.__main__", "audit.__main__"])
def test_help_comes_at_once(command):
    assert loaded(f"from orchestrator.{command} import parser; parser().format_help()", HEAVY) == "[]"
