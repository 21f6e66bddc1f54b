"""Commands as they can be typed where we are: ours, for usage lines, and those installed beside it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def called(module: str) -> str:
    """`prune-sweep`, as an installed command is called; else `python -m` and the module."""
    name = Path(sys.argv[0]).stem
    return name if name.startswith("prune-") else f"python -m {module}"


def beside(program: str) -> str:
    """`mlflow` where the shell finds that of our own environment, else its path: `.venv/bin/mlflow`."""
    own = Path(sys.executable).with_name(program)
    if not own.exists() or shutil.which(program) == str(own):
        return program
    short = os.path.relpath(own)
    return str(own) if short.startswith("..") else short
