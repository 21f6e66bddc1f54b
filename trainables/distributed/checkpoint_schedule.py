"""Schedule for saving or stopping in the middle of an epoch, at the same step on all workers."""

from __future__ import annotations

import time

from trainables.distributed.group import Team

GROWTH = 4  # limit per interval, because the first steps say little of the pace, and a GPU lags behind its host


class CheckpointSchedule:
    """Schedule that asks about every `seconds` whether to save or stop.

    In a team the first worker's clock counts: it tells the others after how many steps to ask again. So most steps need
    no communication, and all workers ask at the same step.
    """

    def __init__(self, team: Team, seconds: float) -> None:
        """Begin with a question after one step; the next ones come at growing intervals."""
        self._team, self._seconds = team, seconds
        self._every = 1
        self.begin()

    def begin(self) -> None:
        """Count steps and seconds from now on."""
        self._steps, self._elapsed, self._since = 0, 0.0, time.monotonic()

    def is_due(self) -> bool:
        """Return True if it is time to `agree`. Call it once after each step that is followed by another one."""
        self._steps += 1
        self._elapsed = time.monotonic() - self._since
        return self._elapsed >= self._seconds if self._team.size == 1 else self._steps >= self._every

    def agree(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """Return whether to stop and whether to save, as the first worker decides. All workers call it at once.

        Stopping implies saving.
        """
        stops, saves, self._every = self._team.told(stop, save or stop, self._pace())
        return bool(stops), bool(saves)

    def _pace(self) -> int:
        """Return the number of steps that take about `seconds`, estimated from the last steps."""
        if not self._steps:
            return self._every
        steps = self._steps * self._seconds / max(self._elapsed, 1e-9)
        return max(1, min(int(steps), GROWTH * self._every))
