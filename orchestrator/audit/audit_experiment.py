"""Audit the finished runs of an experiment: choose them, recompute them, log and show what was found."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console

from orchestrator.audit.run import Audited, audit_run, load_finished, pick
from orchestrator.audit.sources import Sources
from orchestrator.audit.table import show, told
from orchestrator.results.own_runs import foreign_runs, foreign_words
from orchestrator.results.results import experiment_named
from orchestrator.results.store import ReportError, connect, mlflow_errors, sqlite_uri
from orchestrator.tracking.audits import log_audit
from orchestrator.tracking.missing_results import send_missing

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

AGREE, DIFFER, REFUSED = 0, 1, 2


def audit_experiment(given: argparse.Namespace, console: Console) -> int:
    """Audit as the command line says; return 0 if all agree, 1 if something differs, 2 if nothing could be audited.

    Raises:
        ReportError, SpaceError: in one line, if there is nothing to audit, or an option is not allowed.
    """
    count = _count(given.trials)
    if given.data_root is not None and not given.data_root.is_dir():
        raise ReportError(f"--data-root: '{given.data_root}' is not a folder")
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    if given.device not in devices:
        raise ReportError(f"--device: '{given.device}' is not allowed; this machine has: {', '.join(devices)}")
    uri: str = given.tracking_uri or sqlite_uri(given.output.expanduser() / "mlflow.db")
    client = connect(uri)
    found = load_finished(client, given.experiment)
    if notice := foreign_words(foreign_runs(client, experiment_named(client, given.experiment).experiment_id)):
        console.print(notice, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if not found:
        raise ReportError(f"experiment '{given.experiment}': no trial has finished yet")
    if given.log and (sent := _sent(client, found, given.output / "checkpoints")):
        words = f"{len(sent)} of {len(found)} runs lacked results that are in the trials' records; they were sent"
        console.print(words, style="yellow", markup=False, highlight=False, soft_wrap=True)
        found = load_finished(client, given.experiment)
    sources = Sources(given.data_root, given.output / "data", torch.device(given.device), given.run_code)
    audited: list[Audited] = []
    unlogged = ""
    with console.status("") as status:
        for number, run in enumerate(chosen := pick(found, count), 1):
            status.update(f"auditing {number} of {len(chosen)}: {run.data.tags.get('mlflow.runName', '')}")
            audited.append(audit_run(client, run, sources))
            if given.log and not audited[-1].reason:
                unlogged = _unlogged(client, audited[-1]) or unlogged
    show(audited, console)
    if unlogged:
        console.print(f"not logged: {unlogged}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    for line in told(audited, len(found)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    verdicts = {each.verdict for each in audited}
    return DIFFER if "differs" in verdicts else AGREE if "agrees" in verdicts else REFUSED


def _sent(client: MlflowClient, found: Sequence[Run], storage: Path) -> list[str]:
    """Compare the runs with the trials' records, send what they lack, and return the fingerprints of these trials."""
    runs = {run.data.tags.get("fingerprint", ""): run for run in found}
    ids = {fingerprint: run.info.run_id for fingerprint, run in runs.items()}
    metrics = {fingerprint: run.data.metrics for fingerprint, run in runs.items()}
    try:
        with mlflow_errors():
            return send_missing(client, ids, storage, metrics)
    except RuntimeError as error:
        raise ReportError(str(error)) from None


def _unlogged(client: MlflowClient, audited: Audited) -> str:
    """Log an audit; return "", or why MLflow refuses it, so that the findings are printed in any case."""
    try:
        log_audit(client, audited.run_id, audited.metrics, audited.words)
    except ReportError as error:
        return str(error)
    return ""


def _count(text: str) -> int | None:
    """Return the number of runs that `--trials` asks for; None for all."""
    if text == "all":
        return None
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise ReportError(f"--trials: '{text}' is not allowed; it must be a count above 0, or all")
