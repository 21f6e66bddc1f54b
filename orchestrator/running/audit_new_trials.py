"""Audit of a few trials of a sweep, right after they have run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from rich.console import Console

from orchestrator.audit.run import Audited, audit_run, load_finished
from orchestrator.audit.sources import Sources
from orchestrator.audit.table import difference_lines, summary
from orchestrator.results.store import public_reason
from orchestrator.running.job import Job
from orchestrator.tracking.audits import log_audit

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHARE = 0.02  # time limit of all audits together, as a share of the trials' time
LEAST = 10.0  # seconds: the smallest time limit; a small network is tested in less than one
LOOKED_AT = 4  # runs tried for each audit that is wanted: runs without kept weights cannot be audited


def audit_new(
    job: Job,
    client: MlflowClient,
    new: Collection[str],
    took: float,
    console: Console,
    stop: Callable[[], bool],
) -> bool:
    """Audit as many of the trials `new` (fingerprints) as were asked for, on this CPU; return True if any differs.

    `took` is the trials' time in seconds. One line tells the user how many were audited, or why none was; each
    difference is a line. An error in the audit does not affect the sweep.
    """
    if not job.request.audit or not new:
        return False
    try:
        with console.status("auditing a few trials"):
            audited = _audited(job, client, new, max(LEAST, SHARE * took), stop)
    except Exception as error:  # noqa: BLE001 - an audit is an extra and must not affect the sweep's results
        console.print(
            f"not audited: {public_reason(error)}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )
        return False
    return _say(audited, len(new), console)


def _audited(
    job: Job, client: MlflowClient, new: Collection[str], seconds: float, stop: Callable[[], bool]
) -> list[Audited]:
    ends = time.monotonic() + seconds
    place = job.place
    sources = Sources(place.data_root, place.cache, torch.device("cpu"), run_code=True)  # the code is the sweep's own
    runs = [run for run in load_finished(client, job.experiment) if run.data.tags.get("fingerprint") in new]
    audited: list[Audited] = []
    for run in runs[: LOOKED_AT * job.request.audit]:
        left = ends - time.monotonic()
        if stop() or left <= 0 or sum(not each.reason for each in audited) == job.request.audit:
            break
        audited.append(audit_run(client, run, replace(sources, seconds=left)))
        if not audited[-1].reason:
            log_audit(client, run.info.run_id, audited[-1].metrics, audited[-1].words)
    return audited


def _say(audited: list[Audited], new: int, console: Console) -> bool:
    done = [each for each in audited if not each.reason]
    if not done:
        reason = Counter(each.reason for each in audited).most_common(1)[0][0] if audited else "no time was left"
        console.print(f"not audited: {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        return False
    found = difference_lines(done)
    for line in found:
        console.print(line, style="bold red", markup=False, highlight=False, soft_wrap=True)
    words = f"{summary(done, new)}; python -m orchestrator.audit recomputes all of them"
    console.print(words, style="bold red" if found else "", markup=False, highlight=False, soft_wrap=True)
    return bool(found)
