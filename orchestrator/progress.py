"""What a person sees while trials run: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.colors import look
from orchestrator.cost import words
from search_spaces import Trial, amount

LINES = 200  # plain lines for a whole sweep, however many trials it has
SHOWN = 8  # running trials, and columns of the table


def _epochs_trained(trial: Trial, metrics: Mapping[str, float], step: int) -> int:
    """What an event tells of that: an epoch of the last training, or a level before it that is over."""
    if "train/loss" in metrics:
        return trial.epochs_to_train - trial.epochs + step
    return step * (trial.epochs - trial.rewind_epoch) if "level/top1" in metrics else 0


class Progress:
    """Fed with the events of the trials' outboxes; any thread may feed it."""

    def __init__(
        self,
        trials: Sequence[Trial],
        seconds: Mapping[str, float],
        done_before: int,
        console: Console,
        stages: Sequence[Trial] = (),
        unknown: int = 0,
    ) -> None:
        """`stages` run before the `trials`; those that are no trials of the sweep are shown but not counted.

        `unknown`: how many more there will be, which a search chooses.
        """
        self._trials = {trial.fingerprint: trial for trial in trials}
        self._unknown = unknown
        self._stages = {dense.fingerprint: dense for dense in stages if dense.fingerprint not in self._trials}
        self._trained: set[str] = set()  # the stages that are done
        self._seconds = dict(seconds)
        self._before = done_before
        self._console = console
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._epochs: dict[str, int] = {}  # of the running trials
        self._top1: dict[str, float] = {}  # of the finished ones
        self._failed: dict[str, str] = {}
        self._live = Live(get_renderable=self._panel, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def expect(self, trial: Trial, seconds: float) -> None:
        """A search has chosen one more trial."""
        with self._lock:
            self._trials[trial.fingerprint] = trial
            self._seconds[trial.fingerprint] = seconds
            self._unknown = max(0, self._unknown - 1)

    @property
    def _count(self) -> int:
        return len(self._trials) + self._unknown

    def event(self, fingerprint: str, event: Mapping[str, Any]) -> None:
        """One event of a trial's outbox."""
        with self._lock:
            trial = self._shown(fingerprint)
            metrics = event.get("metrics", {})
            if fingerprint in self._stages and event.get("end"):
                self._epochs.pop(fingerprint, None)
                self._trained.add(fingerprint)
                return  # if it failed, each trial that starts from it says so
            if "final/top1" in metrics and fingerprint in self._trials:
                self._top1[fingerprint] = metrics["final/top1"]
            if "error" in event.get("tags", {}) and fingerprint in self._trials:
                self._failed[fingerprint] = event["tags"]["error"]
            if "end" in event:
                self._epochs.pop(fingerprint, None)
                self._over(trial, event["end"])
            else:
                self._failed.pop(fingerprint, None) if "params" in event else None
                epoch = _epochs_trained(trial, metrics, event.get("step", 0))
                self._epochs[fingerprint] = max(self._epochs.get(fingerprint, 0), epoch)

    def _shown(self, fingerprint: str) -> Trial:
        return self._trials.get(fingerprint) or self._stages[fingerprint]

    def notice(self, text: str) -> None:
        """Something people should know."""
        self._say(text, "yellow")

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def _over(self, trial: Trial, end: str) -> None:
        if end == "failed":
            self._console.print(
                f"failed  {trial.name}: {self._failed[trial.fingerprint]}", style="red", markup=False, soft_wrap=True
            )
        elif not self._console.is_terminal:
            done = len(self._top1)
            if done % max(1, self._count // LINES) == 0 or done == self._count:
                top1 = f"top-1 {100 * self._top1[trial.fingerprint]:.2f} %"
                self._console.print(
                    f"{self._counts()}  |  {trial.name}: {top1}", markup=False, highlight=False, soft_wrap=True
                )

    def _counts(self) -> str:
        done, failed = len(self._top1), len(self._failed)
        parts = [f"{self._before + done}/{self._before + self._count} done", f"{len(self._epochs)} running"]
        parts += [f"{failed} failed"] if failed else []
        left = self._left()
        return ", ".join(parts) + (f", about {words(left)} left" if left else "")

    def _left(self) -> float | None:
        """Seconds to the end, from the pace so far."""
        total = sum(self._seconds.values()) * self._count / max(1, len(self._trials))
        spent = sum(self._seconds[fp] for fp in (*self._top1, *self._failed, *self._trained))
        for fingerprint, epoch in self._epochs.items():
            spent += self._seconds[fingerprint] * epoch / max(1, self._shown(fingerprint).epochs_to_train)
        return (time.monotonic() - self._started) * max(0.0, total - spent) / spent if spent else None

    def _panel(self) -> Group:
        with self._lock:
            bar = Table.grid(padding=(0, 1))
            finished = len(self._top1) + len(self._failed)
            bar.add_row(ProgressBar(self._count, finished, width=30), Text(self._counts()))
            running = Table.grid(padding=(0, 2))
            for fingerprint, epoch in list(self._epochs.items())[:SHOWN]:
                trial = self._shown(fingerprint)
                running.add_row(Text(trial.name, look(trial.pruner).color), f"epoch {epoch}/{trial.epochs_to_train}")
            more = len(self._epochs) - SHOWN
            return Group(bar, running, *([Text(f"and {more} more")] if more > 0 else []), *self._best())

    def _best(self) -> list[Table]:
        """The best pruner so far per compression or kappa; a column for each dataset and architecture."""
        asked = {(trial.compression, trial.kappa): amount(trial) for trial in self._trials.values()}
        best: dict[tuple[str, tuple[float, float]], tuple[float, str]] = {}
        for fingerprint, top1 in self._top1.items():
            trial = self._trials[fingerprint]
            place = f"{trial.architecture} {trial.dataset}", (trial.compression, trial.kappa)
            best[place] = max(best.get(place, (0.0, "")), (top1, trial.pruner))
        if not best:
            return []
        columns = list(dict.fromkeys(facet for facet, _ in best))[:SHOWN]
        table = Table(box=None, padding=(0, 2), header_style="bold")
        table.add_column("best so far", justify="right")
        for facet in columns:
            table.add_column(facet)
        for much in sorted({much for _, much in best}):
            row = [best.get((facet, much)) for facet in columns]
            table.add_row(
                asked[much],
                *(Text(f"{100 * b[0]:.2f} % {b[1]}", look(b[1]).color) if b else Text("") for b in row),
            )
        return [table]
