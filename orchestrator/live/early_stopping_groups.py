"""Groups of trials that early stopping compares, and their recorded metrics so far."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from search_spaces import EarlyStopping, Trial
from trainables.record.event_log import DamagedRecordError, read
from trainables.sparse_training import dynamics

STEPS = 1000  # steps per epoch: any number will do, because only the beginning of training matters


@dataclass(frozen=True)
class EarlyStoppingGroups:
    """Trials of a sweep that early stopping compares, in independent groups.

    Within the groups that the space asks for, only trials with the same kind of training are compared: equal length,
    equal trainings before it, and pruned at its start or later. Gradual pruning begins dense: in its first epochs it
    would beat all trials that are sparse already.
    """

    stopping: EarlyStopping
    folder: Path  # with the trials' folders
    known: tuple[Trial, ...] = ()  # trials that may have recorded epochs, in this sweep or an earlier one
    seeds: Collection[int] = ()  # seeds that are compared; empty: all
    elsewhere: Mapping[str, Mapping[int, float]] = field(default_factory=dict)  # curves of trials not in `folder`

    def group(self, trial: Trial) -> Hashable | None:
        """Return the key of the group that `trial` is compared in; None if it is not compared.

        Trials with seeds that are not in the space confirm the best settings of a search. They are results and run to
        their end.
        """
        if self.seeds and trial.seed not in self.seeds:
            return None
        changing = dynamics(trial, STEPS)
        later = changing is not None and changing.compression < trial.compression
        point = trial.epochs, trial.pretrain_epochs, trial.levels, trial.rewind_epoch, later
        return point, *(_part(trial, name) for name in self.stopping.group)

    def curve(self, fingerprint: str) -> Mapping[int, float]:
        """Return the metric of each epoch that the trial has recorded, in its event log or else in `elsewhere`."""
        found: dict[int, float] = {}
        with suppress(DamagedRecordError, OSError):  # reported when the trial runs
            for event, _ in read(self.folder / fingerprint):
                if self.stopping.metric in event.get("metrics", {}):
                    found[event["step"]] = event["metrics"][self.stopping.metric]
        return found or self.elsewhere.get(fingerprint, {})


def _part(trial: Trial, name: str) -> Hashable:
    """Return the trial's value of a space's field, with the related fields of its record."""
    if name == "architecture":
        return trial.network.label, trial.architecture_code
    if name == "compression":
        return trial.compression, trial.kappa
    if name == "lr_schedule":
        return trial.lr_schedule, trial.lr_drops, trial.lr_factor
    value: Hashable = getattr(trial, name)
    return value
