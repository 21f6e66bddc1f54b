"""Early stopping by Ray Tune's schedulers, one for each group of rivals: a 100x trial never races a 2x one.

Tune's own way to stop a function trainable ends the thread that runs it at its last report, and gives up the whole
process if that thread still lives two seconds later: a checkpoint that takes longer would be lost. So here a scheduler
decides, and the trial is told: it saves where it stands, records why, frees its folder, and returns like any other; its
actor is then as good as new. Tune never sees a trial that was stopped.

For the same reason no scheduler here pauses trials. HyperBand is the asynchronous one (Li et al. 2020, section 3.3):
brackets that begin to stop at later and later epochs, and in each the asynchronous successive halving that "asha" is.
The synchronous one pauses a trial until its bracket is full, which with the few trials of a group, some of them not yet
chosen by a search, may be never.

Population-based training is not offered: it copies weights and settings between trials, and a trial here is a pure
function of its record.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from orchestrator.live.early_stopping_groups import Rivals
from orchestrator.ray_driver.signals import Flag
from search_spaces import EarlyStopping, Trial
from trainables.metrics import METRICS


@dataclass(frozen=True)
class _Rival:
    """What Tune's schedulers need to know of a trial: who it is. The same one after a crash, in any Tuner."""

    trial_id: str  # its fingerprint


@dataclass
class _Entry:
    """A trial in its group."""

    scheduler: TrialScheduler
    rival: _Rival
    epoch: int = 0  # the last one that was judged


@dataclass
class Fairness:
    """Judges trials after each epoch. Lives as long as the driver, and knows what earlier ones recorded."""

    rivals: Rivals
    _groups: dict[Hashable, TrialScheduler] = field(default_factory=dict)
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for trial in self.rivals.known:
            if self.rivals.curve(trial.fingerprint):
                self.enter(trial)

    def enter(self, trial: Trial) -> None:
        """A trial takes part, with what it has recorded so far. Entering twice changes nothing."""
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
        """Whether the trial is to be given up, having reached `value` after `epoch`. An epoch is judged once."""
        entry = self._entries.get(fingerprint)
        if entry is None or epoch <= entry.epoch:
            return False
        entry.epoch = epoch
        result = {"epoch": epoch, self.rivals.stopping.metric: value}
        decision = entry.scheduler.on_trial_result(None, entry.rival, result)  # type: ignore[arg-type]
        return decision == TrialScheduler.STOP


def scheduler(stopping: EarlyStopping, epochs: int) -> TrialScheduler:
    """Tune's scheduler for one group, whose trials have so many epochs. It is told of no trial's last epoch."""
    common: dict[str, Any] = {
        "time_attr": "epoch",
        "metric": stopping.metric,
        "mode": "max" if METRICS[stopping.metric].better == "maximize" else "min",
        "grace_period": stopping.grace_epochs,
    }
    if stopping.name == "median":
        return MedianStoppingRule(**common, min_time_slice=math.inf)  # type: ignore[arg-type]  # never yields to others
    longest = max(epochs, stopping.grace_epochs)
    rungs = 1 + int(math.log(longest / stopping.grace_epochs, stopping.reduction))
    return AsyncHyperBandScheduler(
        **common,
        max_t=longest,
        reduction_factor=stopping.reduction,
        brackets=rungs if stopping.name == "hyperband" else 1,
        stop_last_trials=False,  # else what a trial reaches later counts at the rungs that it skipped
    )


class FairScheduler(FIFOScheduler):
    """Tells those to stop that fall behind. Tune pickles its schedulers: all that this one knows stays out of that."""

    def __init__(self, *known: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fairness: Fairness
        self._flag: Flag
        if known:
            self._fairness, self._flag = known

    def __reduce__(self) -> tuple[type[FairScheduler], tuple[()]]:
        return FairScheduler, ()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A trial reported an epoch, and waits for this answer."""
        fingerprint, metric = result.get("fingerprint", ""), self._fairness.rivals.stopping.metric
        if metric in result and self._fairness.falls_behind(fingerprint, result["epoch"], result[metric]):
            self._flag.give_up(fingerprint)
        return TrialScheduler.CONTINUE
