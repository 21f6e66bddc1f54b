"""Early stopping by Ray Tune's schedulers, one per group of comparable trials: a 100x trial never races a 2x one.

Tune stops a function trainable by ending its thread at the last report, and kills the whole process if that thread is
still alive two seconds later. A checkpoint that takes longer would be lost. So here a scheduler only decides, and the
trial gets a signal: it saves its state, records why, unlocks its folder, and returns like any other trial. Its actor
can then be reused. Tune never sees a stopped trial.

For the same reason no scheduler here pauses trials. HyperBand is the asynchronous version (Li et al. 2020, section
3.3): brackets that begin to stop at later and later epochs, each with the asynchronous successive halving of "asha".
The synchronous version pauses a trial until its bracket is full. With the few trials of a group, some of which a search
has not chosen yet, that may never happen.

Population-based training is not offered: it copies weights and settings between trials, but a trial here is a pure
function of its record.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from orchestrator.live.early_stopping_groups import EarlyStoppingGroups
from orchestrator.ray_driver.signals import Flag
from search_spaces import EarlyStopping, Trial
from trainables.metrics import METRICS


@dataclass(frozen=True)
class _Rival:
    """Trial as Tune's schedulers see it: only an id, which stays the same after a crash and in any Tuner."""

    trial_id: str  # its fingerprint


@dataclass
class _Entry:
    """Trial in its group, with the group's scheduler."""

    scheduler: TrialScheduler
    rival: _Rival
    epoch: int = 0  # the last epoch that was judged


@dataclass
class GroupedEarlyStopping:
    """Early stopping of a sweep's trials after each epoch. Lives as long as the driver; starts from earlier records."""

    rivals: EarlyStoppingGroups
    _groups: dict[Hashable, TrialScheduler] = field(default_factory=dict)
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for trial in self.rivals.known:
            if self.rivals.curve(trial.fingerprint):
                self.enter(trial)

    def enter(self, trial: Trial) -> None:
        """Add a trial to its group, with its recorded epochs so far. Adding it twice has no effect."""
        group = self.rivals.group(trial)
        if group is None or trial.fingerprint in self._entries:
            return
        if group not in self._groups:
            self._groups[group] = scheduler(self.rivals.stopping, trial.epochs)
        entry = _Entry(self._groups[group], _Rival(trial.fingerprint))
        entry.scheduler.on_trial_add(None, entry.rival)  # type: ignore[arg-type]
        self._entries[trial.fingerprint] = entry
        for epoch, value in self.rivals.curve(trial.fingerprint).items():
            if epoch < trial.epochs:
                self.falls_behind(trial.fingerprint, epoch, value)

    def falls_behind(self, fingerprint: str, epoch: int, value: float) -> bool:
        """Return True if a trial with `value` after `epoch` is to be stopped. An epoch is judged only once."""
        entry = self._entries.get(fingerprint)
        if entry is None or epoch <= entry.epoch:
            return False
        entry.epoch = epoch
        result = {"epoch": epoch, self.rivals.stopping.metric: value}
        decision = entry.scheduler.on_trial_result(None, entry.rival, result)  # type: ignore[arg-type]
        return decision == TrialScheduler.STOP


def scheduler(stopping: EarlyStopping, epochs: int) -> TrialScheduler:
    """Return Tune's scheduler for a group of trials with `epochs` epochs. It must not be given a trial's last epoch."""
    common: dict[str, Any] = {
        "time_attr": "epoch",
        "metric": stopping.metric,
        "mode": "max" if METRICS[stopping.metric].better == "maximize" else "min",
        "grace_period": stopping.grace_epochs,
    }
    if stopping.name == "median":
        return MedianStoppingRule(**common, min_time_slice=math.inf)  # type: ignore[arg-type]  # never pauses a trial
    longest = max(epochs, stopping.grace_epochs)
    rungs = 1 + int(math.log(longest / stopping.grace_epochs, stopping.reduction))
    return AsyncHyperBandScheduler(
        **common,
        max_t=longest,
        reduction_factor=stopping.reduction,
        brackets=rungs if stopping.name == "hyperband" else 1,
        stop_last_trials=False,  # else later results of a trial count at the rungs that it skipped
    )


class EarlyStoppingScheduler(FIFOScheduler):
    """Tune scheduler that signals trials to stop if they fall behind. Pickled without state: Tune never restores it."""

    def __init__(self, fairness: GroupedEarlyStopping | None = None, flag: Flag | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fairness, self._flag = fairness, flag  # None in the copies that Tune unpickles, which are never asked

    def __reduce__(self) -> tuple[type[EarlyStoppingScheduler], tuple[()]]:
        return EarlyStoppingScheduler, ()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Judge an epoch that a trial reported; the trial waits until this returns."""
        assert self._fairness is not None
        assert self._flag is not None
        fingerprint, metric = result.get("fingerprint", ""), self._fairness.rivals.stopping.metric
        if metric in result and self._fairness.falls_behind(fingerprint, result["epoch"], result[metric]):
            self._flag.give_up(fingerprint)
        return TrialScheduler.CONTINUE
