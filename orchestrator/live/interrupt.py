"""Why and how a sweep ends before its work is done: Ctrl-C, SIGTERM, a time budget, a cluster that cannot go on."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from types import FrameType

from search_spaces import SpaceError

GRACE_SECONDS = 60.0  # for the end of an epoch, or a moment within a long one, and the checkpoint
SAVING = "Interrupted: trials save where they stand, then the report is written. Ctrl-C again ends at once."
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class Stop:
    """Asked again and again whether to stop. Once it says so it does not take that back."""

    def __init__(self, budget: float | None = None) -> None:
        """`budget`: seconds from now after which no trial starts and running ones stop at their next checkpoint."""
        self.reason = ""  # a sentence for people
        self._budget_ends = None if budget is None else time.monotonic() + budget
        self._patience_ends: float | None = None

    def __call__(self) -> bool:
        """Whether to stop: trials save at the end of their epoch, and no new ones begin."""
        if not self.reason and self._budget_ends is not None and time.monotonic() >= self._budget_ends:
            self.reason = "The time budget is used up."  # and nobody waits: an epoch may take as long as it takes
        return bool(self.reason)

    def request(self, reason: str, grace: float = GRACE_SECONDS) -> None:
        """Stop for `reason`, a sentence; wait for the ends of epochs no longer than `grace` seconds."""
        self.reason = reason
        self._patience_ends = time.monotonic() + grace

    @property
    def impatient(self) -> bool:
        """Whether what still runs is no longer waited for."""
        return self._patience_ends is not None and time.monotonic() >= self._patience_ends


@contextmanager
def on_signals(stop: Stop, say: Callable[[str], None]) -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM ask `stop` to stop, and `say` that it may take a while; a second one ends at once.

    SIGHUP is ignored: a sweep outlives its terminal.
    """

    def asked(signum: int, frame: FrameType | None) -> None:
        if stop.reason == "Interrupted.":
            os._exit(130)
        stop.request("Interrupted.")
        Thread(target=say, args=(SAVING,), daemon=True).start()  # here one may be in the middle of a line

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    # A terminal that is closed takes the reader of our lines away, and not the reason for the work.
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def length(text: str, option: str = "--time-budget") -> float:
    """Seconds of a length of time: `2h30m`, `1d`, `90` (seconds), `1.5h`.

    Raises:
        SpaceError: in one sentence, if it is none.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    if re.fullmatch(r"\d+(\.\d+)?", text):
        parts = [(text, "s")]
    elif "".join(number + unit for number, unit in parts) != text:
        parts = []
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not seconds:
        raise SpaceError(f"{option}: '{text}' is no length of time; give seconds, or something like 2h30m or 1d")
    return seconds
