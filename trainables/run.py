"""Run one trial from start to end in one plain process: data -> model -> scores -> masks -> training -> record.

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

from pruners.errors import in_one_line, is_out_of_memory, message_of
from search_spaces import SpaceError, Trial
from trainables.context import Place
from trainables.distributed import LostError
from trainables.gpu.memory import works
from trainables.launch import local_workers
from trainables.phases import Attempt, EarlyStoppingJudge, Judge, compute
from trainables.record.event_log import DamagedRecordError, End, EventLog, ended, must_restart, read, remove_record
from trainables.record.files import held
from trainables.record.object_store import Bucket
from trainables.record.sync import Copy, InPlace, Mirror, SupersededError, fetch, sweep_up
from trainables.shared.pretraining import stored, trained_weights
from trainables.shared.weights import bring
from trainables.training.loop import StoppedError

ATTEMPTS = 4  # at a trial whose workers die, without Ray
FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
WRITER_SECONDS = 60  # wait for the lock: processes of a killed driver live on for a few seconds


class ElsewhereError(RuntimeError):
    """Another process computes the dense trial that this trial starts from."""


class DiskFullError(OSError):
    """The disk was full while the dense trial was computed that this trial starts from."""


NO_ENDS: dict[str, type[Exception]] = {  # outcomes of a stage that end neither the stage nor the trial
    "interrupted": StoppedError,
    "elsewhere": ElsewhereError,
    "memory": torch.OutOfMemoryError,
    "broken": torch.AcceleratorError,
    "full": DiskFullError,
}


@dataclass(frozen=True)
class TrialOutcome:
    """Outcome of a trial, with the error in one line if it failed.

    These outcomes are not final; when run again, the trial continues from its checkpoint:
    "interrupted"; "memory": it needs more of a GPU; "broken": this process can no longer use its GPU, but another
    process may; "full": the disk is full, as it will be for other trials; "elsewhere": another process computes it;
    "superseded": another process has taken it over in an object store; "misplaced": it cannot run on these nodes.
    A trial that was "stopped" early can be continued too.
    """

    end: End | Literal["interrupted", "memory", "broken", "full", "elsewhere", "superseded", "misplaced"]
    error: str = ""
    epoch: int = 0  # after which the trial was stopped early


def run(
    trial: Trial, place: Place, stop: Callable[[], bool] = lambda: False, judge: Judge | None = None
) -> TrialOutcome:
    """Run `trial` and return its outcome; a finished trial returns at once, an unfinished one continues.

    A dense trial whose trained weights are gone is trained again, because other trials may start from them.

    All results are in the event log of `place.storage / trial.fingerprint`. An exception of the trial is recorded
    there with its traceback and returned as a failed outcome; it is never raised. `stop` is called before the trial,
    after each of its epochs and within long ones; if it returns True, the trial saves its state and ends. `judge`
    decides after each epoch whether to stop the trial early; the trial then saves its state and records the rule.
    """
    if stop():
        return TrialOutcome("interrupted")
    folder = place.storage / trial.fingerprint
    os.environ.setdefault("MPLCONFIGDIR", str(place.cache / "matplotlib"))  # else it writes to the home folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / ".writer.lock", WRITER_SECONDS):  # held by another process that computes the trial
            return _run(trial, place, folder, stop, EarlyStoppingJudge(trial, judge))
    except (Timeout, ElsewhereError):
        return TrialOutcome("elsewhere", "another process computes it")
    except SupersededError as error:
        return TrialOutcome("superseded", str(error))
    except (DamagedRecordError, SpaceError) as error:
        return TrialOutcome("failed", str(error))
    except OSError as error:  # the event log could not be read or written
        return TrialOutcome("full" if _is_disk_full(error) else "failed", _line(error))


def _run(
    trial: Trial, place: Place, folder: Path, stop: Callable[[], bool], judged: EarlyStoppingJudge
) -> TrialOutcome:
    copy: Copy = Mirror(place.mirror, folder) if place.mirror else InPlace()
    copy.pull()
    if place.mirror:
        sweep_up(place.storage)
    if must_restart(folder):
        remove_record(folder)
    outcome = TrialOutcome("finished")
    if ended(folder) != "finished" or (trial.pruner == "dense" and not stored(trial, place.storage)):
        outcome = _attempt(trial, place, folder, copy, stop, judged)
    copy.finish()
    return outcome


def _attempt(
    trial: Trial, place: Place, folder: Path, copy: Copy, stop: Callable[[], bool], judged: EarlyStoppingJudge
) -> TrialOutcome:
    outbox = EventLog(folder)
    try:
        before = ended(folder)
        if before in ("stopped", "failed"):  # the trial continues; of one that failed by itself nothing is left
            outbox.tags({"stopped" if before == "stopped" else "error": ""})
        bring(trial.network, place)
        weights = partial(_weights, place=place, stop=stop)
        compute(Attempt(trial, place, folder, outbox, copy, judged, stop, weights))
    except StoppedError:
        if not judged.stopped_early:
            return TrialOutcome("interrupted")
        outbox.tags({"stopped": judged.stopped_early})
        outbox.end("stopped")
        return TrialOutcome("stopped", epoch=judged.epoch)
    except (SupersededError, ElsewhereError, LostError):
        raise
    except Exception as seen:  # noqa: BLE001 - any error of a trial is its result and must not end the sweep
        error = place.team.blame(seen)
        line = _line(error)
        if place.grow and is_out_of_memory(error):
            outbox.tags({"out_of_memory": f"with {place.gpus:g} of a GPU; tried again with more"})
            return TrialOutcome("memory", line)
        if not works(place.device) or _is_disk_full(error):
            return TrialOutcome("full" if _is_disk_full(error) else "broken", line)
        with suppress(OSError):  # the caller gets the error in any case
            outbox.tags({"error": line[:500]})
            (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
            outbox.artifact("traceback.txt")
            outbox.end("failed", resume=isinstance(error, OSError | MemoryError) or is_out_of_memory(error))
        return TrialOutcome("failed", line)
    finally:
        outbox.close()
    return TrialOutcome("finished")


def _is_disk_full(error: Exception) -> bool:
    return isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in FULL)


def _line(error: Exception) -> str:
    """Return the error in one line; for a full disk with the file's name."""
    if isinstance(error, OSError) and error.errno in FULL:
        return f"{FULL[error.errno]}: {error.filename or 'a file of the trial'} could not be written"
    return in_one_line(error)


def _weights(dense: Trial, place: Place, stop: Callable[[], bool]) -> dict[str, Tensor]:
    """Return the trained weights of `dense`; compute them if the storage does not have them yet.

    With an object store they are then trained once on each node that needs them, and not uploaded. If two nodes
    uploaded them, one would supersede the other, and with it the trial that waits for the weights.
    """
    here = replace(place, mirror="")
    bring = partial(fetch, Bucket(place.mirror)) if place.mirror else None
    return trained_weights(dense, place.storage, lambda dense: _stage(dense, here, stop), bring)


def _stage(dense: Trial, place: Place, stop: Callable[[], bool]) -> str:
    """Compute the dense trial that a trial starts from; return its error, or "". Outcomes in `NO_ENDS` are raised."""
    outcome = run(dense, place, stop)
    if outcome.end in NO_ENDS:
        raise NO_ENDS[outcome.end](outcome.error)
    return outcome.error


def run_together(trial: Trial, place: Place, stop: Callable[[], bool] = lambda: False) -> TrialOutcome:
    """Run `trial` with the workers of `place`; if one dies, run it again from the last checkpoint, `ATTEMPTS` times."""
    for _ in range(ATTEMPTS):
        try:
            with local_workers(place) as led:
                return run(trial, led, stop)
        except LostError as error:
            lost = str(error)
    return TrialOutcome("failed", f"{lost}, {ATTEMPTS} times")


def main() -> int:
    """Run the trial of a trial.json in a folder and print its event log."""
    if len(sys.argv) not in (3, 4) or not all(map(str.isdigit, sys.argv[3:])):
        print(__doc__, file=sys.stderr)  # noqa: T201
        return 2
    source, folder = map(Path, sys.argv[1:3])
    workers = max([1, *map(int, sys.argv[3:])])
    try:
        trial = Trial.model_validate_json(source.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        print(f"run: {message_of(error)}", file=sys.stderr)  # noqa: T201
        return 2
    outcome = run_together(trial, Place(storage=folder, cache=folder / "data", workers=workers))
    for event, _ in read(folder / trial.fingerprint):
        print(json.dumps(event))  # noqa: T201
    return 0 if outcome.end == "finished" else 1


if __name__ == "__main__":
    sys.exit(main())
