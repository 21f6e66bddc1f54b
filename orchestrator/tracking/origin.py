"""Who runs which code: the tags by which a run is traced back."""

from __future__ import annotations

import getpass
import os
import subprocess
from pathlib import Path


def user() -> str:
    """Who runs the sweep."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"


def commit(folder: Path = Path(__file__).parent) -> str:
    """The commit of the code that runs, "-dirty" if it was changed since.

    Outside of a checkout, as on the nodes of a cluster, what GIT_COMMIT says; "unknown" without it.
    """
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("GIT_COMMIT", "").strip() or "unknown"
    return done.stdout.strip()
