"""Interruption of a sweep: by Ctrl-C, SIGTERM, a time budget, or a cluster that cannot continue."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from types import FrameType

from search_spaces import SpaceError

GRACE_SECONDS = 60.0  # for running trials to reach the end of an epoch, or a point within a long one, and to save
SAVING = "Interrupted: trials save a checkpoint, then the report is written. Press Ctrl-C again to end at once."
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class Stop:
    """Stop request of a sweep, polled by calling it. A request is never withdrawn."""

    def __init__(self, budget: float | None = None) -> None:
        """Set a time `budget` in seconds from now; then no trial starts and running ones stop at a checkpoint."""
        self.reason = ""  # a sentence for the user
        self.is_disk_full = False  # True if it stops because nothing can be written, trials and report alike
        self._budget_ends = None if budget is None else time.monotonic() + budget
        self._patience_ends: float | None = None

    def __call__(self) -> bool:
        """Return True if the sweep must stop: trials save at the end of their epoch, and no new ones begin."""
        if not self.reason and self._budget_ends is not None and time.monotonic() >= self._budget_ends:
            self.reason = "The time budget is used up."  # without a grace time: running epochs may finish
        return bool(self.reason)

    def request(self, reason: str, grace: float = GRACE_SECONDS) -> None:
        """Request a stop for `reason`, a sentence; wait at most `grace` seconds for trials to save."""
        self.reason = reason
        self._patience_ends = time.monotonic() + grace

    def disk_full(self, error: str) -> None:
        """Request a stop because the disk is full: all later trials would fail in the same way."""
        if not self.reason:
            self.is_disk_full = True
            self.request(f"{error[:1].upper()}{error[1:]}.")

    @property
    def impatient(self) -> bool:
        """True if the grace time is over, so that running trials are no longer waited for."""
        return self._patience_ends is not None and time.monotonic() >= self._patience_ends


@contextmanager
def on_signals(stop: Stop, say: Callable[[str], None], at_once: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM request `stop` inside the block, and show a line by `say`; a second one exits at once.

    `at_once` is called in a thread as soon as the first one arrives, and has ended when the block ends: for what must
    be done even if a kill follows within seconds, as with `ray job stop`. SIGHUP is ignored, so that a sweep outlives
    its terminal. Outside of the main thread Python allows no handlers, so signals do what they did before.
    """
    if current_thread() is not main_thread():
        yield
        return

    def asked(signum: int, frame: FrameType | None) -> None:
        if stop.reason == "Interrupted.":
            os._exit(130)
        stop.request("Interrupted.")
        first.start()
        Thread(target=say, args=(SAVING,), daemon=True).start()  # the handler may interrupt a print

    first = Thread(target=at_once, daemon=True)
    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    # A closed terminal means that nobody reads the output, but the results are still wanted.
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if first.ident is not None:
            first.join()


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt inside the block, as Ctrl-C does, so that what is open is closed."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def length(text: str, option: str = "--time-budget") -> float:
    """Return the seconds of a duration such as `2h30m`, `1d`, `90` (seconds) or `1.5h`.

    Raises:
        SpaceError: in one sentence, if `text` is not a duration.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    if re.fullmatch(r"\d+(\.\d+)?", text):
        parts = [(text, "s")]
    elif "".join(number + unit for number, unit in parts) != text:
        parts = []
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not seconds:
        raise SpaceError(f"{option}: '{text}' is not a duration; give seconds, or a duration such as 2h30m or 1d")
    return seconds
