"""These tests run in a process with a pretended GPU: test_pretended.py starts it."""

from __future__ import annotations

import gc
import os

if "PRETENDED_GPU_LIBRARY" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_finish() -> None:
    """Spare what is imported by now from garbage collection: each capture collects, for half a second otherwise."""
    gc.collect()
    gc.freeze()
