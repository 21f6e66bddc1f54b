"""Event log of a trial: every param, metric and artifact, appended beside its checkpoint. MLflow shows a copy of it.

Each line is one JSON object. An event is complete once its newline is on disk; a crash can lose only the last,
incomplete one.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

FILE = "outbox.jsonl"
End = Literal["finished", "failed", "stopped"]  # stopped: pruned by early stopping; it can be resumed


class DamagedRecordError(ValueError):
    """Error for an event log that holds something other than events."""


class EventLog:
    """Writer of the event log, owned by the one process that computes the trial.

    A metric that is already recorded (same key, same step) is not recorded again: after a crash the epochs since the
    last checkpoint are computed twice, with the same values, and their points must not appear twice in the curve.
    """

    def __init__(self, folder: Path) -> None:
        """Open the event log in `folder`, or create it."""
        self._path = folder / FILE
        self._known: set[tuple[str, int]] = set()
        self.artifacts: set[str] = set()  # files that are recorded as complete
        self._size = 0
        for event, self._size in read(folder):
            self._known |= {(key, event["step"]) for key in event.get("metrics", {})}
            self.artifacts |= {event["artifact"]} if "artifact" in event else set()
        self._file = self._path.open("ab", buffering=0)  # a buffer would keep what a full disk did not take
        self._file.truncate(self._size)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record one point of each metric, with the current time.

        Raises:
            ValueError: if a value is not finite. MLflow would store infinity as 1.8e308.
        """
        fresh = {key: float(v) for key, v in values.items() if (key, step) not in self._known}
        for key, value in fresh.items():
            if not math.isfinite(value):
                raise ValueError(f"metric {key} is {value} at step {step}")
        if fresh:
            self._append({"metrics": fresh, "step": step})
            self._known |= {(key, step) for key in fresh}

    def params(self, values: Mapping[str, str]) -> None:
        """Record params; recording the same ones again changes nothing."""
        self._append({"params": dict(values)})

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags; a later value replaces an earlier one."""
        self._append({"tags": dict(values)})

    def artifact(self, name: str) -> None:
        """Record that the file `name` in the trial's folder is complete."""
        self._append({"artifact": name})
        self.artifacts.add(name)

    def end(self, how: End, resume: bool = False) -> None:
        """Record that the trial is over; `resume`: the machine failed, so what was computed stays valid."""
        self._append({"end": how, "resume": resume} if resume else {"end": how})
        self.sync()

    def sync(self) -> None:
        """Make the recorded events durable. Call it before saving a checkpoint that skips their epochs."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, event: dict[str, Any]) -> None:
        line = json.dumps({"time": time.time_ns() // 1_000_000} | event, allow_nan=False).encode() + b"\n"
        try:
            if self._file.write(line) != len(line):  # the disk had no space for the rest
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        except OSError:
            self._file.truncate(self._size)  # otherwise the next event would continue this incomplete line
            raise
        self._size += len(line)


def read(folder: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the complete events from byte `offset` on, each with the offset of its end.

    Raises:
        DamagedRecordError: at a line that is not an event.
    """
    path = folder / FILE
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                event = json.loads(line)
            except ValueError:
                raise DamagedRecordError(
                    f"{path} is damaged at byte {offset}; remove its folder to compute the trial again"
                ) from None
            offset += len(line)
            yield event, offset


def ended(folder: Path) -> End | None:
    """Return how the trial in `folder` ended; None if it has not, or was resumed since."""
    how: End | None = _last(folder).get("end")
    return how


def stopped(folder: Path) -> str:
    """Return when and by which rule early stopping pruned the trial in `folder` ("epoch 12 by …").

    "" if it was not pruned, or was resumed since.
    """
    tag = ""
    for event, _ in read(folder):
        tag = event.get("tags", {}).get("stopped", tag)
    return tag if ended(folder) == "stopped" else ""


def must_restart(folder: Path) -> bool:
    """Return True if the trial itself failed. Its record is of no use then: its code may have changed since."""
    last = _last(folder)
    return last.get("end") == "failed" and not last.get("resume")


def forget(folder: Path) -> None:
    """Remove what the trial in `folder` recorded and computed."""
    for path in folder.iterdir():
        if path.is_file() and not path.name.endswith(".lock"):
            path.unlink()


def size(folder: Path) -> int:
    """Return the size of the event log in bytes."""
    path = folder / FILE
    return path.stat().st_size if path.exists() else 0


def _last(folder: Path) -> dict[str, Any]:
    event: dict[str, Any] = {}
    for event, _ in read(folder):  # noqa: B007 - the last one is wanted
        pass
    return event
