"""These tests run in a process with a pretended GPU: test_pretended.py starts it."""

from __future__ import annotations

import os

if "PRETENDED_GPU_LIBRARY" not in os.environ:
    collect_ignore_glob = ["test_*.py"]
