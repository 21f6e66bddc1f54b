"""`--latency alone`: after the trials, the latencies of their networks are measured again, each on a whole device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.live.trial_records import Records
from orchestrator.running.job import Job
from orchestrator.terminal import say
from orchestrator.tracking.experiment import ExperimentRuns
from orchestrator.tracking.missing_results import send_missing
from search_spaces import TRAINING, Trial
from trainables.latency_alone import is_measured_alone, measure_alone
from trainables.record.event_log import DamagedRecordError, snapshot

if TYPE_CHECKING:
    from orchestrator.ray_driver import GpuHealth


def wanting_latency(job: Job, book: ExperimentRuns, records: Records) -> bool:
    """Return True if some trial of the job is not done, or its latency was not measured alone yet."""
    trained = [trial for trial in job.plan.trials if trial.measure == TRAINING]
    return any(t.fingerprint not in book.finished for t in trained) or bool(_without(trained, book, records))


def _without(trials: Collection[Trial], book: ExperimentRuns, records: Records) -> list[Trial]:
    """Return the finished trials whose latency was not measured alone yet, as their records say."""
    found = []
    for trial in trials:
        if trial.fingerprint in book.finished and trial.measure == TRAINING:
            with suppress(DamagedRecordError, OSError):
                record = snapshot(records.folder / trial.fingerprint)
                found += [] if is_measured_alone(record) else [trial]
    return found


def measure_latencies(
    job: Job,
    book: ExperimentRuns,
    records: Records,
    trials: Collection[Trial],
    health: GpuHealth | None,
    console: Console,
    stop: Callable[[], bool],
) -> int:
    """Measure latencies alone, if that was asked for, and send them to MLflow; return how many `stop` has left.

    What cannot be measured keeps the latency that the trial measured itself, and one line says why.
    """
    wanted = _without(trials, book, records) if job.request.latency_alone else []
    if not wanted:
        return 0
    measured: list[Trial] = []
    reasons: Counter[str] = Counter()
    with console.status("measuring latencies") as shown:
        for trial, reason in _measured(job, wanted, health, stop):
            if reason:
                reasons[reason] += 1
            else:
                measured.append(trial)
            shown.update(f"measuring latencies alone: {len(measured)} of {len(wanted)}")
    records.refresh([trial.fingerprint for trial in measured])
    with suppress(Exception):  # a server that is away gets them at the next start of the command
        runs = {trial.fingerprint: book.runs[trial.fingerprint].run_id for trial in measured}
        send_missing(book.client, runs, records.folder, {})
    if measured:
        say(console, f"latency measured alone for {_trials(len(measured))}")
    for reason, count in reasons.most_common(1):
        more = f", {sum(reasons.values()) - count} for other reasons" if len(reasons) > 1 else ""
        say(console, f"latency not measured alone for {_trials(count)}: {reason}{more}", "yellow")
    return len(wanted) - len(measured) - sum(reasons.values())


def _measured(
    job: Job, trials: Sequence[Trial], health: GpuHealth | None, stop: Callable[[], bool]
) -> Iterator[tuple[Trial, str]]:
    if job.request.local:
        for trial in trials:
            if stop():
                return
            yield trial, measure_alone(trial, job.place)
        return
    from orchestrator.ray_driver import measure_on_whole_devices

    broken = tuple(health.broken_gpus) if health else ()
    yield from measure_on_whole_devices(trials, job.place, job.resources, broken, stop)


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"
