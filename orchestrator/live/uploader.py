"""Uploader thread of the driver: reads the running trials' event logs, sends them to MLflow and updates the progress.

Only this thread writes to MLflow while trials run, so a slow or absent server does not delay trials.
"""

from __future__ import annotations

import queue
import random
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.colors import look
from orchestrator.live.trial_records import Records
from orchestrator.results.store import public_reason
from orchestrator.tracking.experiment import ExperimentRuns, RunStatus
from search_spaces import Trial
from trainables.record.event_log import DamagedRecordError, End, Snapshot, ended, read, snapshot
from trainables.record.mlflow import LateFileError, allow_slow_answers, deliver, deliver_all, is_away, refused_files

POLL_SECONDS = 0.5
DELIVER_SECONDS = 5.0  # so that one batch holds several short epochs; a trial's last events are sent at once
BACKOFF_SECONDS = (1.0, 60.0)
RESTARTS = 3  # of the loop after internal errors
NO_TIME = "no time was left"
AWAY = (
    "MLflow does not answer; waiting up to {minutes:.0f} min for it. Ctrl-C leaves: "
    "results stay in the trials' records, and the same command sends them"
)
LATE = "its record does not show its end yet, as seen from this node"


@dataclass
class _Followed:
    """Trial whose event log is being read and sent."""

    run_id: str | None = None
    offset: int = 0  # position in the event log up to which the progress display has seen it
    delivered: float = 0.0  # monotonic time of the last upload
    over: bool = False  # True if its executor is done with it
    error: str | None = None  # why the executor lost it, if it did
    end: End | None = None  # the event that its record must show before its run is closed
    killed: bool = False  # True if its run says already that the sweep was asked to end
    problem: str = NO_TIME  # why its results are not in MLflow yet


@dataclass(frozen=True)
class _Call:
    """What an executor said of a trial."""

    fingerprint: str
    over: bool = False
    error: str | None = None
    end: End | None = None


def how_it_ended(folder: Path) -> End | None:
    """Return how the trial in `folder` ended, by its event log; None if it has not ended or the log is damaged."""
    with suppress(DamagedRecordError):
        return ended(folder)
    return None


def _after_last_end(folder: Path) -> int:
    """Return the size of the event log up to where an attempt last failed or was stopped early; 0 if none was."""
    last = 0
    with suppress(DamagedRecordError):
        for event, offset in read(folder):
            if event.get("end") in ("failed", "stopped"):
                last = offset
    return last


class Uploader(threading.Thread):
    """Thread that uploads trials to MLflow. Executors report starts and ends; the rest is read from event logs."""

    def __init__(
        self,
        ledger: ExperimentRuns,
        trials: dict[str, Trial],
        records: Records,
        parent: str,
        on_event: Callable[[str, dict[str, Any]], None],
        on_notice: Callable[[str], None],
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self._ledger, self._trials, self._records, self._parent = ledger, trials, records, parent
        storage = self._storage = records.folder
        self._on_event, self._on_notice = on_event, on_notice
        self._display_failed = False
        self._refused_told = False
        self.on_fault: Callable[[], object] = lambda: None  # called if this thread ends by errors
        self.hurried: Callable[[], bool] = lambda: (
            False
        )  # True if the sweep may be killed soon: events are sent at once
        # Failures and early stops of earlier attempts were shown by the sweep that ran them, so they are skipped.
        self._told = {fingerprint: _after_last_end(storage / fingerprint) for fingerprint in trials}
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._followed: dict[str, _Followed] = {}
        self.begun: set[str] = set()
        self.over: set[str] = set()
        self._closing: float | None = None
        self._failures = 0
        self._away = False  # True if the last request failed because the server is away
        self._retry_at = 0.0
        self._refreshed = 0.0

    def name_of(self, fingerprint: str) -> str:
        """Return the trial's name for the user; its fingerprint if it is not a trial of the sweep."""
        return self._trials[fingerprint].name if fingerprint in self._trials else fingerprint

    def over_before(self, fingerprint: str, end: End) -> None:
        """Upload a trial that ended in an earlier sweep, which could not send it."""
        self._told.pop(fingerprint, None)
        self.started(fingerprint)
        self.ended(fingerprint, end=end)

    def started(self, fingerprint: str) -> None:
        """Follow a trial that an executor starts."""
        self.begun.add(fingerprint)
        self._calls.put(_Call(fingerprint))

    def ended(self, fingerprint: str, error: str | None = None, end: End | None = None) -> None:
        """Record that no executor runs a trial any longer; `error` says why if its event log does not.

        `end` is how the trial says that it ended. Its run stays open until the record shows this here: another node
        wrote the record, and a shared folder may show its last lines late.
        """
        self.over.add(fingerprint)
        self._calls.put(_Call(fingerprint, True, error, end))

    def close(
        self, seconds: float = 60.0, patience: float = 0.0, left: Callable[[], bool] = lambda: False
    ) -> dict[str, str]:
        """Upload the rest for at most `seconds`; return the trials whose results are not sent yet, and why.

        If the server is away, wait for it for `patience` seconds, unless `left` returns True.
        """
        self._closing = time.monotonic() + seconds
        self._failures, self._retry_at = 0, 0.0  # the server may have come back while we waited
        ends, told = time.monotonic() + patience, False
        while self.is_alive():
            self.join(0.1)
            if self._away and time.monotonic() < ends:
                if not told:
                    self.notice(AWAY.format(minutes=patience / 60))
                told = True
                self._closing = time.monotonic() + (0 if left() else seconds)
                ends = 0 if left() else ends
        waiting = {fingerprint: followed.problem for fingerprint, followed in self._followed.items()}
        while not self._calls.empty():  # empty unless the thread ended by errors
            waiting[self._calls.get().fingerprint] = "the thread that sends it has ended"
        return waiting

    def notice(self, text: str) -> None:
        """Show the user a line, if that is possible."""
        with suppress(Exception, SystemExit):
            self._on_notice(text)

    def run(self) -> None:
        """Follow trials until closed and everything is sent; show internal errors to the user and continue."""
        for again in range(RESTARTS, -1, -1):
            try:
                self._follow()
                return
            except BaseException:  # noqa: BLE001 - the main thread waits for this one, so errors must be shown
                fault = traceback.format_exc()
                self.notice(f"an error while following the trials{' (following continues)' if again else ''}:\n{fault}")
        self.on_fault()

    def _follow(self) -> None:
        while True:
            self._take_calls()
            with suppress(OSError):  # the trials report a storage that does not answer; their event logs stay there
                self._refresh()
            for fingerprint in list(self._followed):
                self._tell_progress(fingerprint)
            if time.monotonic() >= self._retry_at:
                self._project()
            done = self._calls.empty() and not self._followed
            if self._closing is not None and (done or time.monotonic() > self._closing):
                return
            time.sleep(POLL_SECONDS if self._closing is None else 0.05)

    def _take_calls(self) -> None:
        while not self._calls.empty():
            call = self._calls.get()
            fingerprint = call.fingerprint
            if call.over:
                self._refreshed = 0.0  # fetch its last events at once
                with suppress(OSError):
                    self._records.refresh([fingerprint])
            folder = self._storage / fingerprint
            followed = self._followed.setdefault(fingerprint, _Followed(offset=self._told.get(fingerprint, 0)))
            # A trial whose node died is started again, so a new report replaces that of the first attempt.
            followed.over, followed.error, followed.end = call.over, call.error, call.end
            if call.error is not None and how_it_ended(folder) is None:
                self._show(fingerprint, {"tags": {"error": call.error}})
                self._show(fingerprint, {"end": "failed"})

    def _refresh(self) -> None:
        if time.monotonic() - self._refreshed >= self._records.poll_seconds:
            self._refreshed = time.monotonic()
            self._records.refresh(list(self._followed))

    def _tell_progress(self, fingerprint: str) -> None:
        followed = self._followed[fingerprint]
        with suppress(DamagedRecordError, OSError):  # reported when the trial ends
            for event, offset in read(self._storage / fingerprint, followed.offset):
                followed.offset = offset
                self._show(fingerprint, event)

    def _show(self, fingerprint: str, event: dict[str, Any]) -> None:
        """Pass an event to the progress display; an error of the display does not affect results."""
        try:
            self._on_event(fingerprint, event)
        except Exception:  # noqa: BLE001
            if not self._display_failed:
                self._display_failed = True
                self.notice(f"the display of progress failed; results are not affected:\n{traceback.format_exc()}")

    def _project(self) -> None:
        for fingerprint, followed in list(self._followed.items()):
            try:
                if self._step(fingerprint, followed):
                    del self._followed[fingerprint]
                self._failures, self._away = 0, False
            except Exception as error:  # noqa: BLE001 - upload errors never stop a sweep; the event log has all events
                followed.problem = public_reason(error)
                self._away = is_away(error)
                allow_slow_answers(error)
                self._back_off(followed.problem)
                # Move it to the end of the queue: a run that MLflow never accepts must not hold up the others.
                self._followed[fingerprint] = self._followed.pop(fingerprint)
                return

    def _back_off(self, reason: str) -> None:
        low, high = BACKOFF_SECONDS
        self._retry_at = time.monotonic() + min(high, low * 2**self._failures) * random.uniform(0.5, 1)
        if self._failures == 0:
            self.notice(f"MLflow does not accept results at present ({reason}); they are kept and sent later")
        self._failures += 1

    def _step(self, fingerprint: str, followed: _Followed) -> bool:
        """Bring MLflow up to date with one trial; return True if nothing more will come."""
        if fingerprint not in self._trials:  # a stage that is not a cell of the space has no run of its own
            return followed.over
        trial, folder = self._trials[fingerprint], self._storage / fingerprint
        if followed.run_id is None:
            followed.run_id = self._ledger.take_up(trial, self._parent, look(trial.pruner).color, folder)
        now = time.monotonic()
        if not followed.over and not self.hurried() and now - followed.delivered < DELIVER_SECONDS:
            return False
        followed.problem = NO_TIME
        record = Snapshot(())
        try:
            self._records.complete(fingerprint)
            record = snapshot(folder)
            whole = followed.over and record.end == "finished"
            (deliver_all if whole else deliver)(self._ledger.client, followed.run_id, folder, record)
        except DamagedRecordError as error:  # earlier events are sent already; the executor reports the end
            followed.problem = str(error)
        except LateFileError as error:
            followed.problem = str(error)
            return False
        followed.delivered = now
        if not self._refused_told and (refused := refused_files(folder)):
            self._refused_told = True
            self.notice(f"MLflow refuses files of this size; they stay in {folder.parent}: {refused}")
        if not followed.over:
            if self.hurried() and not followed.killed:  # if this driver is killed soon, MLflow must not say RUNNING
                followed.killed = True
                self._ledger.close(followed.run_id, "KILLED")
            return False
        how = record.end  # of what was sent: a second look at the record may show more
        if followed.end not in (None, how):
            followed.problem = followed.problem if followed.problem != NO_TIME else LATE
            return False
        status: RunStatus = "KILLED"  # stopped early, or interrupted: the next sweep can continue it
        if how == "finished":
            status = "FINISHED"
        elif how == "failed" or (how is None and followed.error is not None):
            status = "FAILED"
        reason = followed.error if how is None else None
        self._ledger.close_trial(fingerprint, status, reason, record.stopped)
        return True
