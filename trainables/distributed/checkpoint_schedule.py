"""When training may be saved or stopped in the middle of an epoch: at the same step on all workers."""

from __future__ import annotations

import time

from trainables.distributed.group import Team

GROWTH = 4  # from one question to the next: the first steps tell little of the pace, and a GPU lags behind its host


class CheckpointSchedule:
    """Ask about every `seconds`. Of a team the first worker's clock counts: it says after how many steps to ask again.

    So most steps ask nothing, and all workers ask at the same one.
    """

    def __init__(self, team: Team, seconds: float) -> None:
        """The first question comes after one step, the next ones at growing distances."""
        self._team, self._seconds = team, seconds
        self._every = 1
        self.begin()

    def begin(self) -> None:
        """Count steps and seconds from now on."""
        self._steps, self._elapsed, self._since = 0, 0.0, time.monotonic()

    def is_due(self) -> bool:
        """Return True if it is time to `agree`. To be called once after each step that another one follows."""
        self._steps += 1
        self._elapsed = time.monotonic() - self._since
        return self._elapsed >= self._seconds if self._team.size == 1 else self._steps >= self._every

    def agree(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """Return whether to stop, and to save, as the first worker says; who stops saves. All workers ask at once."""
        stops, saves, self._every = self._team.told(stop, save or stop, self._pace())
        return bool(stops), bool(saves)

    def _pace(self) -> int:
        """Steps that take about as long as `seconds`, as far as the last ones tell."""
        if not self._steps:
            return self._every
        steps = self._steps * self._seconds / max(self._elapsed, 1e-9)
        return max(1, min(int(steps), GROWTH * self._every))
