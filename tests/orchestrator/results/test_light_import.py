"""Who only reads results does not wait for the libraries that compute them."""

import subprocess
import sys

HEAVY = ("torch", "torchvision", "ray", "optuna", "mlflow")


def test_a_report_starts_without_what_trains_and_searches():
    code = f"import sys, orchestrator.report.__main__; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
