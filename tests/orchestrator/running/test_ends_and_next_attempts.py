"""However a trial ended, however far its record was, and whatever comes next: MLflow holds each result once."""

from __future__ import annotations

import errno
import io
import os
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from rich.console import Console

from orchestrator.live.interrupt import Stop
from orchestrator.live.trial_records import Records
from orchestrator.live.uploader import Uploader
from orchestrator.planning.plan import plan
from orchestrator.planning.resources import Resources
from orchestrator.running import local_executor
from orchestrator.running.job import Job
from orchestrator.running.request import Request
from orchestrator.running.run_trials import Run
from orchestrator.tracking.experiment import create, existing
from search_spaces import load
from trainables import run as running
from trainables.record.event_log import FILE
from trainables.record.mlflow import deliver
from trainables.training.loop import StoppedError

EPOCHS = 3
FAR = {"nothing": 0, "begun": 0, "an epoch": 1, "a torn line": 1, "everything": EPOCHS}  # epochs recorded
RECORDED = [far for far in FAR if far != "a torn line"]  # which only a kill leaves behind
FIRST = [
    *product(["killed", "killed after it was sent"], FAR),
    *product(["interrupted", "failed", "disk fault", "disk full", "stopped early"], RECORDED),
    *product(["finished", "finished and not sent"], ["everything"]),
]
NEXT = {  # how the next attempt ends -> how far it comes; a full disk ends the sweep: test_environment_as_found.py
    "finished": "everything",
    "failed": "everything",
    "disk fault": "everything",
    "interrupted": "an epoch",
    "stopped early": "an epoch",
    "killed": "an epoch",  # and then tried again by the same driver, as on Ray
}
CASES = [(*first, then) for first, then in product(FIRST, NEXT)]
DISK = {"disk fault": errno.EIO, "disk full": errno.ENOSPC}
PATIENCE = 900.0  # seconds for MLflow to take everything, on a machine that others use as well
STATUS = {"finished": "FINISHED", "killed": "FINISHED", "failed": "FAILED", "disk fault": "FAILED"}  # else KILLED


class Killed(BaseException):
    """The end of a process, which leaves no event."""


def record(attempt, how, far):
    """Record what a trial records that comes so `far` and ends so; a real one would compute it."""
    outbox = attempt.outbox
    if far != "nothing":
        outbox.params({"lr": "0.1"})
    for epoch in range(1, FAR[far] + 1):
        outbox.metrics({"train/loss": 1 / epoch}, epoch)
    if far == "everything":
        outbox.metrics({"final/top1": 0.5})
    if far == "a torn line":
        with (attempt.folder / FILE).open("ab") as file:
            file.write(b'{"time": 17, "metr')
    if how.startswith("killed"):
        raise Killed
    if how == "failed":
        raise ValueError("no")
    if how in DISK:
        raise OSError(DISK[how], os.strerror(DISK[how]), str(attempt.folder / "masks.safetensors"))
    if how == "stopped early":
        attempt.judged.stopped_early = "epoch 1 by asha"
    if how in ("interrupted", "stopped early"):
        raise StoppedError
    outbox.end("finished")


class Experiment:
    """A sweep with a trial for each case, run again and again."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.uri = folder, f"sqlite:///{folder / 'mlflow.db'}"
        space = {"dataset": "digits", "architecture": "mlp", "pruner": "random", "compression": 4, "epochs": EPOCHS}
        self.plan = plan(load(space | {"seed": list(range(len(CASES)))}), cache=folder / "data")
        self.cases = dict(zip((trial.fingerprint for trial in self.plan.trials), CASES, strict=True))
        self.does = {}  # fingerprint -> how its next attempt ends, and how far it comes
        monkeypatch.setattr(local_executor, "run_together", self.run_twice)
        monkeypatch.setattr(running, "compute", lambda attempt: record(attempt, *self.does[attempt.trial.fingerprint]))
        monkeypatch.setattr(Uploader.close, "__defaults__", (PATIENCE, 0.0, lambda: False))
        request = Request(folder, self.uri, "e", command="", local=True)
        self.job = Job(request, self.plan, "e", Resources(1, 0), dict.fromkeys(self.cases, 1.0))
        self.said = io.StringIO()

    def run_twice(self, trial, place, stop):
        """Run a trial as an executor does, which starts it again if its process is killed."""
        try:
            return running.run(trial, place, stop)
        except Killed:
            self.does[trial.fingerprint] = ("finished", "everything")
            return running.run(trial, place, stop)

    def begin(self):
        """Make the first attempts, each in a process of its own, and send what was sent of each."""
        book = create(self.uri, "e", self.folder / "artifacts")
        parent = book.start_sweep(self.plan, "")
        trials = {trial.fingerprint: trial for trial in self.plan.trials}
        watch = Uploader(book, trials, Records(self.job.folder), parent, lambda fp, event: None, lambda text: None)
        for trial in self.plan.trials:
            how, far, _ = self.cases[trial.fingerprint]
            self.does[trial.fingerprint] = (how, far)
            error = None
            try:
                outcome = running.run(trial, self.job.place)
                error = outcome.error if outcome.end == "failed" else None
            except Killed:
                pass
            if how == "killed after it was sent":
                run_id = book.take_up(trial, parent, "#000000", self.job.folder / trial.fingerprint)
                deliver(book.client, run_id, self.job.folder / trial.fingerprint)
            elif not how.startswith("killed") and how != "finished and not sent":
                watch.started(trial.fingerprint)
                watch.ended(trial.fingerprint, error)
        watch.start()
        assert watch.close(PATIENCE) == {}

    def go_on(self, how):
        """Run the same sweep, whose trials end as `how` says of each; return the ledger."""
        self.does = {fingerprint: (how(case), NEXT[how(case)]) for fingerprint, case in self.cases.items()}
        book = existing(self.uri, "e")
        book.reconcile(self.plan)
        planned = self.plan.after(book.done(None))
        self.said = io.StringIO()
        job = replace(self.job, plan=planned)
        console = Console(file=self.said, width=200)
        run = Run(job, book, job.records(), book.start_sweep(planned, ""), Stop(), console)
        assert run()
        return existing(self.uri, "e")


def check(book, experiment, expected):
    """Compare status, error and points of each trial's one run with what is `expected` of its case."""
    found = book.client.search_runs([book.experiment_id], "tags.kind = 'trial'", max_results=1000)
    count = Counter(run.data.tags["fingerprint"] for run in found)
    assert count == dict.fromkeys(experiment.cases, 1)
    wrong = []
    for run in found:
        case = experiment.cases[run.data.tags["fingerprint"]]
        history = book.client.get_metric_history(run.info.run_id, "train/loss")
        points = sorted((point.step, point.value) for point in history)
        status, error = run.info.status, bool(run.data.tags.get("error"))
        epochs = len(points) if status == "KILLED" else EPOCHS  # as many as there are, each of them once
        right = points == [(epoch, 1 / epoch) for epoch in range(1, epochs + 1)] and run.data.params == {"lr": "0.1"}
        if (status, error) != (expected(case), expected(case) == "FAILED") or not right:
            wrong.append((case, status, error, points))
    assert wrong == []


@pytest.mark.slow
def test_every_end_and_every_next_attempt(tmp_path, monkeypatch):
    experiment = Experiment(tmp_path, monkeypatch)
    experiment.begin()

    book = experiment.go_on(lambda case: case[2])
    check(
        book, experiment, lambda case: "FINISHED" if case[0].startswith("finished") else STATUS.get(case[2], "KILLED")
    )
    assert "Traceback" not in experiment.said.getvalue()

    book = experiment.go_on(lambda case: "finished")
    check(book, experiment, lambda case: "FINISHED")
    assert "failed" not in experiment.said.getvalue()
    assert "Traceback" not in experiment.said.getvalue()
