"""One trial from start to end, in one plain process: data -> model -> scores -> masks -> training -> record.

python -m trainables.run TRIAL.json FOLDER [WORKERS]    # debug or profile a trial without Ray and without MLflow
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from filelock import Timeout
from torch import Tensor

from pruners.errors import in_one_line, is_out_of_memory, words
from search_spaces import SpaceError, Trial
from trainables.context import Place
from trainables.distributed import LostError
from trainables.gpu.memory import works
from trainables.launch import with_workers
from trainables.phases import Attempt, Judge, Judged, compute
from trainables.record.event_log import DamagedRecordError, End, Outbox, ended, forget, must_restart, read
from trainables.record.files import held
from trainables.record.object_store import Bucket
from trainables.record.sync import Copy, InPlace, Mirror, SupersededError, fetch, sweep_up
from trainables.shared.pretraining import stored, trained_weights
from trainables.shared.weights import bring
from trainables.training.loop import StoppedError

ATTEMPTS = 4  # of one trial whose workers die, without Ray
WRITER_SECONDS = 60  # the process of a driver that was killed lives on for a few


class ElsewhereError(RuntimeError):
    """Another process computes what this trial starts from."""


NO_ENDS: dict[str, type[Exception]] = {  # of what a trial starts from; nor are they ends of the trial then
    "interrupted": StoppedError,
    "elsewhere": ElsewhereError,
    "memory": torch.OutOfMemoryError,
    "broken": torch.AcceleratorError,
}


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended, and the error in one line if it failed.

    "interrupted" and "memory" (it needs more of a GPU) are no ends: run again, the trial goes on from its checkpoint.
    Nor is "broken": this process can use its GPU no more, whoever caused that. In another one a trial may go on.
    Nor are "elsewhere" (another process computes it), "superseded" (another one has taken it over, in a store) and
    "misplaced" (not on these nodes). One that was "stopped", as not worth more epochs, goes on too, if anybody wants.
    """

    end: End | Literal["interrupted", "memory", "broken", "elsewhere", "superseded", "misplaced"]
    error: str = ""
    epoch: int = 0  # after which it was stopped


def run(
    trial: Trial, place: Place, stop: Callable[[], bool] = lambda: False, judge: Judge | None = None
) -> TrialOutcome:
    """Compute `trial`, or what is left of it: a finished one returns at once, a started or stopped one goes on.

    A dense one whose trained weights are gone is trained once more: other trials may start from them.

    All results are in the outbox of `place.storage / trial.fingerprint`. An exception of the trial is recorded
    there with its traceback and returned as a failed outcome; it is never raised. `stop` is asked before the
    trial, after each of its epochs and within long ones: once it says so, the trial saves where it stands. `judge`
    decides after each epoch whether the trial is worth more of them; one that is not saves likewise, and records by
    which rule.
    """
    if stop():
        return TrialOutcome("interrupted")
    folder = place.storage / trial.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MPLCONFIGDIR", str(place.cache / "matplotlib"))  # its font cache, else in the home folder
    try:
        with held(folder / ".writer.lock", WRITER_SECONDS):  # else somebody else computes it
            return _run(trial, place, folder, stop, Judged(trial, judge))
    except (Timeout, ElsewhereError):
        return TrialOutcome("elsewhere", "another process computes it")
    except SupersededError as error:
        return TrialOutcome("superseded", str(error))
    except (DamagedRecordError, SpaceError) as error:
        return TrialOutcome("failed", str(error))
    except OSError as error:  # not even the record could be had
        return TrialOutcome("failed", _line(error))


def _run(trial: Trial, place: Place, folder: Path, stop: Callable[[], bool], judged: Judged) -> TrialOutcome:
    copy: Copy = Mirror(place.mirror, folder) if place.mirror else InPlace()
    copy.pull()
    if place.mirror:
        sweep_up(place.storage)
    if must_restart(folder):
        forget(folder)
    outcome = TrialOutcome("finished")
    if ended(folder) != "finished" or (trial.pruner == "dense" and not stored(trial, place.storage)):
        outcome = _attempt(trial, place, folder, copy, stop, judged)
    copy.finish()
    return outcome


def _attempt(
    trial: Trial, place: Place, folder: Path, copy: Copy, stop: Callable[[], bool], judged: Judged
) -> TrialOutcome:
    outbox = Outbox(folder)
    try:
        if ended(folder) == "stopped":
            outbox.tags({"stopped": ""})  # no longer
        bring(trial.network, place)
        weights = partial(_weights, place=place, stop=stop)
        compute(Attempt(trial, place, folder, outbox, copy, judged, stop, weights))
    except StoppedError:
        if not judged.given_up:
            return TrialOutcome("interrupted")
        outbox.tags({"stopped": judged.given_up})
        outbox.end("stopped")
        return TrialOutcome("stopped", epoch=judged.epoch)
    except (SupersededError, ElsewhereError, LostError):
        raise
    except Exception as seen:  # noqa: BLE001 - whatever a trial raises is its result, not the sweep's
        error = place.team.blame(seen)
        line = _line(error)
        if place.grow and is_out_of_memory(error):
            outbox.tags({"out_of_memory": f"with {place.gpus:g} of a GPU; tried again with more"})
            return TrialOutcome("memory", line)
        if not works(place.device):
            return TrialOutcome("broken", line)
        with suppress(OSError):  # a disk may be too full even for that; who runs the trial is told in any case
            outbox.tags({"error": line[:500]})
            (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
            outbox.artifact("traceback.txt")
            outbox.end("failed", resume=isinstance(error, OSError | MemoryError) or is_out_of_memory(error))
        return TrialOutcome("failed", line)
    finally:
        outbox.close()
    return TrialOutcome("finished")


def _line(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {error.filename or 'a file of the trial'} could not be written"
    return in_one_line(error)


def _weights(dense: Trial, place: Place, stop: Callable[[], bool]) -> dict[str, Tensor]:
    """The trained weights of `dense`, which are in the storage, unless this trial came alone or too early.

    With an object store they are then trained once on each node that wants them, and stay there: of two nodes
    that would both bring them one would stop the other, and the trial that waits for it with it.
    """
    here = replace(place, mirror="")
    bring = partial(fetch, Bucket(place.mirror)) if place.mirror else None
    return trained_weights(dense, place.storage, lambda dense: _stage(dense, here, stop), bring)


def _stage(dense: Trial, place: Place, stop: Callable[[], bool]) -> str:
    """Compute what a trial starts from; returns its error, "" if there was none. What is no end ends neither."""
    outcome = run(dense, place, stop)
    if outcome.end in NO_ENDS:
        raise NO_ENDS[outcome.end](outcome.error)
    return outcome.error


def run_together(trial: Trial, place: Place, stop: Callable[[], bool] = lambda: False) -> TrialOutcome:
    """`run` with the workers that `place` asks for; if one dies, again from the last checkpoint."""
    for _ in range(ATTEMPTS):
        try:
            with with_workers(place) as led:
                return run(trial, led, stop)
        except LostError as error:
            lost = str(error)
    return TrialOutcome("failed", f"{lost}, {ATTEMPTS} times")


def main() -> int:
    """Run the trial of a trial.json in a folder and print its record."""
    if len(sys.argv) not in (3, 4) or not all(map(str.isdigit, sys.argv[3:])):
        print(__doc__, file=sys.stderr)  # noqa: T201
        return 2
    source, folder = map(Path, sys.argv[1:3])
    workers = max([1, *map(int, sys.argv[3:])])
    try:
        trial = Trial.model_validate_json(source.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        print(f"run: {words(error)}", file=sys.stderr)  # noqa: T201
        return 2
    outcome = run_together(trial, Place(storage=folder, cache=folder / "data", workers=workers))
    for event, _ in read(folder / trial.fingerprint):
        print(json.dumps(event))  # noqa: T201
    return 0 if outcome.end == "finished" else 1


if __name__ == "__main__":
    sys.exit(main())
