"""Warn where Python finds other packages under the names of ours: the package index has an `orchestrator`, too."""

from __future__ import annotations

import warnings
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

OURS = {"orchestrator": "sweep.py", "trainables": "phases.py", "pruners": "prune.py"}  # a file that only ours has


def warn_of_namesakes() -> None:
    """Warn for each package that Python finds and that is not ours."""
    for name, file in OURS.items():
        spec = find_spec(name)
        if spec is not None and not _has(spec, file):
            where = spec.origin or ", ".join(spec.submodule_search_locations or ())
            warnings.warn(
                f"another package named '{name}' comes first on Python's path ({where}); "
                "install pruning-sweeps into an environment of its own",
                stacklevel=2,
            )


def _has(spec: ModuleSpec, file: str) -> bool:
    return any((Path(place) / file).exists() for place in spec.submodule_search_locations or ())
