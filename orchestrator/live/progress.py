"""Progress display of running trials: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.colors import look
from orchestrator.terminal import duration
from search_spaces import TRAINING, Trial, amount

SHOWN = 8  # running trials shown at most, even on a tall terminal
COLUMN = 24  # width of a table's column in characters


def live_panel(
    head: RenderableType,
    running: Sequence[tuple[str, Trial, int]],
    done: Iterable[tuple[Trial, float]],
    size: tuple[int, int],
) -> Group:
    """Return the panel: head, running trials (name, trial, epoch), best of the done trials (with top-1).

    `size` is (width, height). The table of best trials has priority in height, but at least three running trials are
    always shown.
    """
    width, height = size
    table = best(done, width, max(1, height - 8))
    rows = height - 3 - (table.row_count + 1 if table else 0)
    return Group(head, *_running(running, max(3, min(SHOWN, rows))), *([table] if table else []))


def _running(running: Sequence[tuple[str, Trial, int]], rows: int) -> list[RenderableType]:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(no_wrap=True)
    for name, trial, epoch in running[:rows]:
        grid.add_row(Text(name, look(trial.pruner).color), _stands(trial, epoch))
    more = len(running) - rows
    return [grid, *([Text(f"and {more} more")] if more > 0 else [])]


def _stands(trial: Trial, epoch: int) -> str:
    return f"epoch {epoch}/{trial.epochs_to_train}" if trial.epochs_to_train else ""


def best(done: Iterable[tuple[Trial, float]], width: int, rows: int) -> Table | None:
    """Return the best pruner per compression or kappa, a column per dataset and architecture; None if none is done.

    If there are more compressions than `rows`, some are left out evenly. If there are more columns than fit into
    `width`, the last ones are left out.
    """
    found: dict[tuple[str, tuple[float, float]], tuple[float, Trial]] = {}
    for trial, top1 in done:
        place = f"{trial.architecture} {trial.dataset}", (trial.compression, trial.kappa)
        if place not in found or top1 > found[place][0]:
            found[place] = top1, trial
    if not found:
        return None
    columns = list(dict.fromkeys(facet for facet, _ in found))
    fit = max(1, width // COLUMN - 1)
    left_out = f" ({fit} of {len(columns)})" if len(columns) > fit else ""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column(f"best so far{left_out}", justify="right", no_wrap=True)
    for facet in columns[:fit]:
        table.add_column(facet, no_wrap=True, overflow="ellipsis")
    asked = {much: amount(trial) for (_, much), (_, trial) in found.items()}
    for much in sorted(asked)[:: math.ceil(len(asked) / rows)]:
        table.add_row(asked[much], *(_entry(found.get((facet, much))) for facet in columns[:fit]))
    return table


def _entry(found: tuple[float, Trial] | None) -> Text:
    return Text(f"{100 * found[0]:.2f} % {found[1].pruner}", look(found[1].pruner).color) if found else Text("")


TOP1 = "final/top1"
LINES = 200  # about this many plain lines for a whole sweep, however many trials it has
EARLY, PATIENCE = 0.01, 600.0  # no estimate of the time left before this share of the work or these seconds
ALIKE = 3  # failures for the same reason that get a line each


def _epochs_trained(trial: Trial, metrics: Mapping[str, float], step: int) -> int:
    """Return the epochs trained so far, by an event: an epoch of the last training, or the end of an earlier level."""
    if "train/loss" in metrics:
        return trial.epochs_to_train - trial.epochs + step
    return step * (trial.epochs - trial.rewind_epoch) if "level/top1" in metrics else 0


def _result(trial: Trial, metrics: Mapping[str, float]) -> tuple[str, float] | None:
    """Return the main metric of a finished trial, name and value; None if it is not in `metrics`."""
    if trial.measure == TRAINING:
        return (TOP1, metrics[TOP1]) if TOP1 in metrics else None
    return next(((name, value) for name, value in metrics.items() if not name.startswith("time/")), None)


def _words(name: str, value: float) -> str:
    return f"top-1 {100 * value:.2f} %" if name == TOP1 else f"{name} {value:.4g}"


def _value(key: str, text: str) -> str:
    """Return a field's value as names show it: for a user's own code six digits of its hash, as in the report."""
    return text[:6] if key in ("code", "architecture_code") else text


def told_apart(trials: Iterable[Trial]) -> dict[str, str]:
    """Return fingerprint -> name; trials with equal names get the fields appended in which they differ."""
    alike: dict[str, list[Trial]] = {}
    for trial in trials:
        alike.setdefault(trial.name, []).append(trial)
    names = {}
    for name, several in alike.items():
        fields = [trial.params() for trial in several] if len(several) > 1 else [{}]
        differ = [key for key in dict.fromkeys(chain(*fields)) if len({field.get(key) for field in fields}) > 1]
        for trial, field in zip(several, fields, strict=True):
            told = (f"{key}={_value(key, field[key])}" for key in differ if key in field)
            names[trial.fingerprint] = " ".join([name, *told])
    return names


class Progress:
    """Progress display, updated by the events of the trials' event logs. Thread-safe."""

    def __init__(
        self,
        trials: Sequence[Trial],
        seconds: Mapping[str, float],
        done_before: int,
        console: Console,
        stages: Sequence[Trial] = (),
        unknown: int = 0,
    ) -> None:
        """Show `trials` with their expected `seconds` by fingerprint; `done_before` trials are done already.

        `stages` run before the `trials`; those that are not trials of the sweep are shown but not counted.
        `unknown` is how many more trials a search will choose.
        """
        self._trials = {trial.fingerprint: trial for trial in trials}
        self._names = told_apart(trials)
        self._unknown = unknown
        self._stages = {dense.fingerprint: dense for dense in stages if dense.fingerprint not in self._trials}
        self._trained: set[str] = set()  # finished stages
        self._seconds = dict(seconds)
        self._before = done_before
        self._console = console
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._epochs: dict[str, int] = {}  # running trials
        self._came: dict[str, tuple[str, float]] = {}  # main metric of each trial that has it
        self._failed: dict[str, str] = {}
        self._done: set[str] = set()  # trials that ended without failing
        self._stopped: dict[str, str] = {}  # trials stopped early: when and by which rule
        self._kinds: Counter[str] = Counter()  # failures by their reason without numbers
        self.questions: Callable[[], str] = lambda: ""  # how many comparisons are open, where seeds depend on that
        self._live = Live(get_renderable=self._panel, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def expect(self, trial: Trial, seconds: float) -> None:
        """Add a trial that a search has chosen, or that a comparison needs."""
        with self._lock:
            self._trials[trial.fingerprint] = trial
            self._seconds[trial.fingerprint] = seconds
            self._unknown = max(0, self._unknown - 1)

    @property
    def _count(self) -> int:
        return len(self._trials) + self._unknown

    def event(self, fingerprint: str, event: Mapping[str, Any]) -> None:
        """Update the display by one event of a trial's event log."""
        with self._lock:
            trial = self._shown(fingerprint)
            metrics = event.get("metrics", {})
            if fingerprint in self._stages and event.get("end"):
                self._epochs.pop(fingerprint, None)
                self._trained.add(fingerprint)
                return  # if the stage failed, each trial that starts from it reports that
            if fingerprint in self._trials and (came := _result(trial, metrics)):
                self._came[fingerprint] = came
            if event.get("tags", {}).get("error") and fingerprint in self._trials:
                self._failed[fingerprint] = event["tags"]["error"]
            if event.get("tags", {}).get("stopped"):
                self._stopped[fingerprint] = event["tags"]["stopped"]
            if "end" in event:
                self._epochs.pop(fingerprint, None)
                self._over(trial, event["end"])
            else:
                if "params" in event:  # another attempt begins
                    self._failed.pop(fingerprint, None)
                    self._done.discard(fingerprint)
                epoch = _epochs_trained(trial, metrics, event.get("step", 0))
                self._epochs[fingerprint] = max(self._epochs.get(fingerprint, 0), epoch)

    def _shown(self, fingerprint: str) -> Trial:
        return self._trials.get(fingerprint) or self._stages[fingerprint]

    def _name(self, trial: Trial) -> str:
        return self._names.get(trial.fingerprint, trial.name)

    def notice(self, text: str) -> None:
        """Show a line that the user should know."""
        self._say(text, "yellow")

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def _over(self, trial: Trial, end: str) -> None:
        if end == "failed":
            self._done.discard(trial.fingerprint)
            reason = self._failed.setdefault(trial.fingerprint, "its record has no reason")
            self._say_failed(self._name(trial), reason)
            return
        self._done.add(trial.fingerprint)
        self._failed.pop(trial.fingerprint, None)
        if not self._console.is_terminal:
            done = len(self._done)
            if done % max(1, self._count // LINES) == 0 or done == self._count:
                came = f"stopped after {self._stopped.get(trial.fingerprint, '?')}" if end == "stopped" else ""
                came = came or self._words_of(trial.fingerprint)
                # without the number of running trials: right after an end it is one too low
                self._console.print(
                    f"{self._counts(running=False)}  |  {self._name(trial)}: {came}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )

    def _words_of(self, fingerprint: str) -> str:
        """Return a trial's result in words; "finished" if an earlier sweep has shown its metric already."""
        return _words(*self._came[fingerprint]) if fingerprint in self._came else "finished"

    def _say_failed(self, name: str, reason: str) -> None:
        """Show a failure; after the first ones of a kind only each power of ten, since thousands may fail alike."""
        kind = re.sub(r"\d+", "", reason)
        self._kinds[kind] += 1
        count = self._kinds[kind]
        if count <= ALIKE:
            self._say(f"failed  {name}: {reason}", "red")
        elif math.log10(count).is_integer():
            self._say(f"failed  {count} trials in this way so far, the last {name}: {reason}", "red")

    def _counts(self, running: bool) -> str:
        done, failed = len(self._done), len(self._failed)
        parts = [f"{self._before + done}/{self._before + self._count} done"]
        parts += [f"{len(self._epochs)} running" if self._epochs or done or failed else "starting"] if running else []
        parts += [f"{len(self._stopped)} stopped early"] if self._stopped else []
        parts += [f"{failed} failed"] if failed else []
        parts += [asked] if (asked := self.questions()) else []
        left = self._left() if done + failed < self._count else None
        return ", ".join(parts) + (f", about {duration(left)} left" if left else "")

    def _left(self) -> float | None:
        """Return the estimated seconds to the end, by the pace so far; None if it is too early."""
        total = sum(self._seconds.values()) * self._count / max(1, len(self._trials))
        spent = sum(self._seconds[fp] for fp in (*self._done, *self._failed, *self._trained))
        for fingerprint, epoch in self._epochs.items():
            spent += self._seconds[fingerprint] * epoch / max(1, self._shown(fingerprint).epochs_to_train)
        elapsed = time.monotonic() - self._started
        if not spent or (spent < EARLY * total and elapsed < PATIENCE):
            return None  # the first trials mostly wait for their processes: the estimate would be hours for minutes
        return elapsed * max(0.0, total - spent) / spent

    def _panel(self) -> Group:
        with self._lock:
            bar = Table.grid(padding=(0, 1))
            finished = len(self._done) + len(self._failed)
            counts = self._counts(running=True)
            width = max(8, min(30, self._console.width - len(counts) - 2))
            bar.add_row(ProgressBar(self._count, finished, width=width), Text(counts))
            trials = [(self._shown(fingerprint), epoch) for fingerprint, epoch in self._epochs.items()]
            running = [(self._name(trial), trial, epoch) for trial, epoch in trials]
            done = [(self._trials[fp], value) for fp, (name, value) in self._came.items() if name == TOP1]
            return live_panel(bar, running, done, self._console.size)
