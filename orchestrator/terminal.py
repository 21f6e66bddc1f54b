"""Output of the commands: a reader that goes away never stops the work."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console


class LastingStream:
    """Text stream that drops its output once nobody can read it any more.

    `sweep | head`, a pager that is quit, an ssh connection that breaks: each makes the next write fail, in any thread.
    What a sweep prints is also in MLflow and in its report.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        with suppress(ValueError):  # closed
            try:
                return self._stream.write(text)
            except OSError:
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Write the buffered text, or drop it."""
        with suppress(ValueError):
            try:
                self._stream.flush()
            except OSError:
                self._give_up()

    def _give_up(self) -> None:
        """Redirect the file descriptor to the null device; else Python fails again when it flushes at exit."""
        with suppress(OSError, ValueError), Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), self._stream.fileno())


def say(console: Console, line: str, style: str | None = None) -> None:
    """Print a line as it is: without markup, colors of numbers, or breaks."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def terminal(stderr: bool = False) -> Console:
    """Return a console on standard output or standard error that never raises because of its reader."""
    # A notebook's output says that it is a terminal, but shows what rich would redraw there line below line.
    plain: dict[str, Any] = {"force_jupyter": False, "force_terminal": False} if Console().is_jupyter else {}
    return Console(file=LastingStream(sys.stderr if stderr else sys.stdout), **plain)  # type: ignore[arg-type]


def duration(seconds: float) -> str:
    """Return a length of time for people: `40 s`, `12 min`, `3.5 h`, `2.1 days`."""
    if seconds < 1:
        return "1 s"  # precise enough for short times, and 0 s would be wrong
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def several(count: int, what: str) -> str:
    """Return the count with the noun, in the plural where needed: `1 cell`, `3 cells`."""
    return f"{count} {what}{'s' * (count != 1)}"
