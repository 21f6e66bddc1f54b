"""A tracking server that is away: wait for it; at the end of a sweep, leave the rest to a process of its own."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time

from rich.console import Console

from orchestrator.live.uploader import AWAY
from orchestrator.results.store import require_answer
from orchestrator.running.request import Request
from orchestrator.terminal import say
from search_spaces import SpaceError

LOOK_SECONDS = 2.0
STARTING = "MLflow does not answer yet; waiting up to {minutes:.0f} min for it"


def came_back(tracking_uri: str, seconds: float, console: Console) -> bool:
    """Wait at most `seconds` for a server that does not answer; return True once it answers again.

    Returns False at once if it answers, because then it was not the server that failed, and if the user leaves.
    """
    if not tracking_uri.startswith("http") or is_answering(tracking_uri):
        return False
    return _answers_within(tracking_uri, seconds, AWAY.format(minutes=seconds / 60), console)


def wait_for_start(tracking_uri: str, seconds: float, console: Console) -> None:
    """Wait at most `seconds` for a server that is still starting."""
    if not is_answering(tracking_uri):
        _answers_within(tracking_uri, seconds, STARTING.format(minutes=seconds / 60), console)


def _answers_within(tracking_uri: str, seconds: float, line: str, console: Console) -> bool:
    console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            if is_answering(tracking_uri):
                return True
    except KeyboardInterrupt:
        pass
    return False


def deliver_later(request: Request, console: Console) -> None:
    """If MLflow is away, start `orchestrator.deliver`, which outlives this sweep and its terminal; tell the user."""
    uri, log = request.tracking_uri, request.output / "deliver.log"
    if request.deliver_only or not uri.startswith("http") or is_answering(uri):
        return
    command = [sys.executable, "-m", "orchestrator.deliver"]
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True)
    assert process.stdin is not None
    with process.stdin as pipe:  # not as arguments: a URI with a password must not stand in process lists for days
        pipe.write(json.dumps(shlex.split(request.command)).encode())
    line = f"MLflow is still away; process {process.pid} sends the rest and writes the report when it answers"
    say(console, f"{line} (log: {log})", "yellow")


def is_answering(tracking_uri: str) -> bool:
    """Return True if the store can be reached now."""
    try:
        require_answer(tracking_uri)
    except SpaceError:
        return False
    return True
