"""Event log of a trial: every param, metric and artifact, appended beside its checkpoint. MLflow shows a copy of it.

Each line is one JSON object. An event is complete once its newline is on disk; a crash can lose only the last,
incomplete one. A shared folder may show a node only the beginning of what another node has appended, for seconds or
minutes. So what was read is never cut off, and whoever decides by an event reads it together with those before it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FILE = "outbox.jsonl"
CANCELLED = b"\x18\n"  # ASCII's "cancel": ends an incomplete line, which readers skip
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
        self._folder, self._path = folder, folder / FILE
        self._known: set[tuple[str, int]] = set()
        self.artifacts: set[str] = set()  # files that are recorded as complete
        # A line that looks incomplete may be complete on another node's disk: it is ended, never cut off.
        self._torn = self.read_again() < size(folder)
        self._file = self._path.open("ab", buffering=0)  # a buffer would keep what a full disk did not take

    def read_again(self) -> int:
        """Read what is recorded, also by earlier attempts on other nodes; return the bytes of complete events."""
        end = 0
        for event, end in read(self._folder):  # noqa: B007 - the last offset is wanted
            self._known |= {(key, event["step"]) for key in event.get("metrics", {})}
            self.artifacts |= {event["artifact"]} if "artifact" in event else set()
        return end

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
        self._append({"artifact": name, "bytes": (self._folder / name).stat().st_size})
        self.artifacts.add(name)

    def end(self, how: End, resume: bool = False) -> None:
        """Record that the trial is over; `resume`: the machine failed, so what was computed stays valid."""
        self._append({"end": how, "resume": resume} if resume else {"end": how})
        self.sync()

    def amend(self, metrics: Mapping[str, float], tags: Mapping[str, str], step: int) -> None:
        """Add to a finished record, as one event that ends it again: so no crash leaves a record that is not finished.

        At a `step` above that of the values so far, metrics replace them.
        """
        self._append({"metrics": dict(metrics), "step": step, "tags": dict(tags), "end": "finished"})
        self.sync()

    def sync(self) -> int:
        """Make the recorded events durable and return their bytes. Call it before a checkpoint that skips them."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, event: dict[str, Any]) -> None:
        line = json.dumps({"time": time.time_ns() // 1_000_000} | event, allow_nan=False).encode() + b"\n"
        line = (CANCELLED if self._torn else b"") + line
        written = self._file.write(line)
        if written:
            self._torn = written < len(line)
        if written != len(line):  # the disk had no space for the rest
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))


@dataclass(frozen=True)
class Snapshot:
    """What one read of an event log showed: its complete events, each with the offset of its end."""

    events: tuple[tuple[dict[str, Any], int], ...]

    @property
    def end(self) -> End | None:
        """How the trial ended; None if it has not, or was resumed since."""
        how: End | None = self._last.get("end")
        return how

    @property
    def stopped(self) -> str:
        """When and by which rule early stopping pruned the trial ("epoch 12 by …"); "" if it did not."""
        tags = [event["tags"]["stopped"] for event, _ in self.events if "stopped" in event.get("tags", {})]
        return tags[-1] if tags and self.end == "stopped" else ""

    @property
    def tags(self) -> dict[str, str]:
        """The last value of each tag."""
        return {key: value for event, _ in self.events for key, value in event.get("tags", {}).items()}

    @property
    def must_restart(self) -> bool:
        """True if the trial itself failed. Its record is of no use then: its code may have changed since."""
        return self.end == "failed" and not self._last.get("resume")

    @property
    def metrics(self) -> dict[str, float]:
        """The value of each metric at its last step."""
        last: dict[str, tuple[int, float]] = {}
        for event, _ in self.events:
            for key, value in event.get("metrics", {}).items():
                if key not in last or event["step"] > last[key][0]:
                    last[key] = event["step"], value
        return {key: value for key, (_, value) in last.items()}

    @property
    def _last(self) -> dict[str, Any]:
        return self.events[-1][0] if self.events else {}


def snapshot(folder: Path) -> Snapshot:
    """Read the event log in `folder` once.

    Raises:
        DamagedRecordError: at a line that is not an event.
    """
    return Snapshot(tuple(read(folder)))


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
            if line.endswith(CANCELLED):
                offset += len(line)
                continue
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
    return snapshot(folder).end


def must_restart(folder: Path) -> bool:
    """Return True if the trial itself failed. Its record is of no use then: its code may have changed since."""
    return snapshot(folder).must_restart


def remove_record(folder: Path) -> None:
    """Remove what the trial in `folder` recorded and computed."""
    for path in folder.iterdir():
        if path.is_file() and not path.name.endswith(".lock"):
            path.unlink()


def size(folder: Path) -> int:
    """Return the size of the event log in bytes."""
    path = folder / FILE
    return path.stat().st_size if path.exists() else 0
