"""Which trials early stopping compares with which, and what their records know of them already."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from search_spaces import EarlyStopping, Trial
from trainables.record.event_log import DamagedRecordError, read
from trainables.sparse_training import dynamics

STEPS = 1000  # an epoch of any length: asked is only how a training begins


@dataclass(frozen=True)
class Rivals:
    """The trials of a sweep that are compared, in groups that have no influence on each other.

    Within the groups that the space asks for, only trials are compared that are at the same point of the same kind of
    training: equally long, after an equally long one before, and pruned by then or not. Gradual pruning begins dense:
    in its first epochs it would beat all that are sparse already.
    """

    stopping: EarlyStopping
    folder: Path  # of the trials' records
    known: tuple[Trial, ...] = ()  # that may have records, from this sweep or an earlier one
    seeds: Collection[int] = ()  # none: all
    elsewhere: Mapping[str, Mapping[int, float]] = field(default_factory=dict)  # curves whose records are not here

    def group(self, trial: Trial) -> Hashable | None:
        """What the trials have in common that `trial` is compared with; None: it is not compared at all.

        Seeds that the space does not name confirm what a search found: those are results, and run to their end.
        """
        if self.seeds and trial.seed not in self.seeds:
            return None
        changing = dynamics(trial, STEPS)
        later = changing is not None and changing.compression < trial.compression
        point = trial.epochs, trial.pretrain_epochs, trial.levels, trial.rewind_epoch, later
        return point, *(_part(trial, name) for name in self.stopping.group)

    def curve(self, fingerprint: str) -> Mapping[int, float]:
        """The metric after each epoch as far as the trial has recorded it, here or elsewhere."""
        found: dict[int, float] = {}
        with suppress(DamagedRecordError, OSError):  # told where it is run
            for event, _ in read(self.folder / fingerprint):
                if self.stopping.metric in event.get("metrics", {}):
                    found[event["step"]] = event["metrics"][self.stopping.metric]
        return found or self.elsewhere.get(fingerprint, {})


def _part(trial: Trial, name: str) -> Hashable:
    """A field of a space, with all that belongs to it in the trial's record."""
    if name == "architecture":
        return trial.network.label, trial.architecture_code
    if name == "compression":
        return trial.compression, trial.kappa
    if name == "lr_schedule":
        return trial.lr_schedule, trial.lr_drops, trial.lr_factor
    value: Hashable = getattr(trial, name)
    return value
