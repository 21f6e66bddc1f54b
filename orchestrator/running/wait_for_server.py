"""Wait for a tracking server that is away when the report is to be written."""

from __future__ import annotations

import time

from rich.console import Console

from orchestrator.live.uploader import AWAY
from orchestrator.results.store import require_answer
from search_spaces import SpaceError

LOOK_SECONDS = 2.0


def came_back(tracking_uri: str, seconds: float, console: Console) -> bool:
    """Wait at most `seconds` for a server that does not answer; return True once it answers again.

    Returns False at once if it answers, because then it was not the server that failed, and if the user leaves.
    """
    if not tracking_uri.startswith("http") or _answers(tracking_uri):
        return False
    console.print(AWAY.format(minutes=seconds / 60), style="yellow", markup=False, highlight=False, soft_wrap=True)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            if _answers(tracking_uri):
                return True
    except KeyboardInterrupt:
        pass
    return False


def _answers(tracking_uri: str) -> bool:
    try:
        require_answer(tracking_uri)
    except SpaceError:
        return False
    return True
