"""Running the trials of a job: stages, then the remaining trials, then those of a search or of further seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.live.early_stopping_groups import EarlyStoppingGroups
from orchestrator.live.interrupt import Stop
from orchestrator.live.progress import Progress
from orchestrator.live.trial_records import Records
from orchestrator.live.trial_sources import ChainedTrials, FurtherSeeds, Source, StudyTrials, TrialList
from orchestrator.live.uploader import Uploader
from orchestrator.planning.epoch_times import trial_seconds
from orchestrator.running.interim_report import InterimReports
from orchestrator.running.local_executor import run_here
from orchestrator.search.optuna_study import StudySearcher
from orchestrator.search.until_decided import SeedsUntilDecided
from orchestrator.tracking.experiment import ExperimentRuns
from search_spaces import Trial
from trainables.record.event_log import FILE, DamagedRecordError, Snapshot, snapshot
from trainables.record.object_store import refused

if TYPE_CHECKING:
    from orchestrator.ray_driver import GpuHealth
    from orchestrator.running.job import Job


FULL_SECONDS = 5.0  # to send what is left when the disk is full, which a store in the same folder shares
AWAY_SECONDS = 600.0  # wait at the end for a server that is away; `deploy/head.sh keep` restarts one in five minutes


@dataclass(frozen=True)
class Run:
    """Run of a job's trials; calling it runs them."""

    job: Job
    book: ExperimentRuns
    records: Records
    parent: str
    stop: Stop
    console: Console
    seeker: StudySearcher | None = None
    seeds: SeedsUntilDecided | None = None  # further seeds, where they depend on results
    health: GpuHealth | None = None  # of Ray's GPUs
    unsent: list[str] = field(default_factory=list)  # fingerprints that MLflow did not take when the trials were over

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials of the sweep that are known so far."""
        return tuple({trial.fingerprint: trial for trial in (*self.job.plan.trials, *self._searched())}.values())

    def __call__(self) -> bool:
        """Run the trials that are not done; return False if the run was stopped before they were done."""
        job, seconds = self.job, self.job.seconds
        # Seed by seed, so that interim reports cover all cells. Within a seed the longest first, because a long trial
        # at the end leaves all other resources idle. With early stopping only length and fingerprint count: if a space
        # lists its pruners from worst to best, each trial is better than those before, and none would be stopped.
        early = job.plan.early_stopping is not None
        order = {t.fingerprint: (0 if early else t.seed, -seconds[t.fingerprint]) for t in job.plan.todo}
        todo = sorted(job.plan.todo, key=lambda t: (*order[t.fingerprint], t.fingerprint if early else ""))
        before = [trial for trial in self._searched() if trial.fingerprint not in self._done]
        with refused(job.request.storage):
            self.records.refresh([trial.fingerprint for trial in (*job.plan.started, *before)])
            stages = [dense for dense in job.plan.pretraining if not self.records.trained(dense.fingerprint)]
            if job.request.deliver_only:
                stages = []
            else:
                _forget_failed((*stages, *todo), self.records)
        known = {trial.fingerprint: seconds[trial.fingerprint] for trial in (*stages, *todo)}
        wanted = {trial.fingerprint for trial in todo} - {dense.fingerprint for dense in stages}
        unknown = self.seeker.to_come if self.seeker else 0
        interim = InterimReports(job.request.tracking_uri, job.experiment, self.parent, job.request.output / "report")
        with interim, Progress(todo, known, len(job.plan.done), self.console, stages, unknown) as progress:
            trials = {trial.fingerprint: trial for trial in todo}
            uploader = Uploader(self.book, trials, self.records, self.parent, progress.event, progress.notice)
            uploader.on_fault = lambda: self.stop.request("Results cannot be sent to MLflow any more (see above).")
            uploader.hurried = self.stop
            if self.seeds:
                progress.questions = lambda: self.seeds.words if self.seeds else ""

            def expect(trial: Trial) -> bool:
                """Add a `trial` that a search or a comparison needs; return False if it is done already."""
                if trial.fingerprint in self._done:
                    return False
                if self.seeds and not job.request.deliver_only:
                    _forget_failed([trial], self.records)
                if trial.fingerprint not in trials:
                    trials[trial.fingerprint] = trial
                    progress.expect(trial, seconds.get(trial.fingerprint) or sum(trial_seconds([trial], {}).values()))
                return True

            for trial in before:
                expect(trial)
            uploader.start()
            try:
                left = self._undelivered_first((*todo, *before), uploader)
                self._tell_seeds(trial.fingerprint for trial in todo if trial.fingerprint not in left)
                # By fingerprint: comparing two records takes ten microseconds, too long for ten thousand trials.
                listed = TrialList([trial for fingerprint, trial in left.items() if fingerprint in wanted])
                rest: Source = ChainedTrials(listed, StudyTrials(self.seeker, expect)) if self.seeker else listed
                rest = ChainedTrials(listed, FurtherSeeds(self.seeds, expect)) if self.seeds else rest
                undisturbed = self._dispatch(TrialList(stages), uploader)
                undisturbed = undisturbed and self._dispatch(rest, uploader, self._rivals())
            finally:
                away = AWAY_SECONDS if self.job.request.tracking_uri.startswith("http") and not self.stop() else 0.0
                until = {"seconds": FULL_SECONDS} if self.stop.is_disk_full else {"patience": away}
                waiting = uploader.close(**until, left=self.stop)
                self.unsent.extend(waiting)
        if not self.stop.is_disk_full:  # of which the sweep's last line tells
            self._say_unsent(waiting)
        return undisturbed

    def _say_unsent(self, waiting: Mapping[str, str]) -> None:
        """Print how many trials are `waiting` to be sent, and why the first of them are."""
        for fingerprint, reason in list(waiting.items())[:3]:
            self.console.print(f"not sent: {fingerprint}: {reason}", style="yellow", markup=False, highlight=False)
        if waiting:
            self.console.print(f"{len(waiting)} trials could not be sent to MLflow yet; the same command sends them.")

    @property
    def _done(self) -> frozenset[str]:
        return self.book.done(self.job.plan.early_stopping)

    def _rivals(self) -> EarlyStoppingGroups | None:
        """Return the groups of early stopping; None without it. Stages are not stopped, because trials need them."""
        stopping, search = self.job.plan.early_stopping, self.job.plan.search
        if stopping is None:
            return None
        with refused(self.job.request.storage):
            self.records.refresh([trial.fingerprint for trial in self.trials])
        seeds = search.grid.space.axes.get("seed", (0,)) if search else ()
        folder = self.records.folder
        away = {t.fingerprint for t in self.trials if not (folder / t.fingerprint / FILE).exists()}
        elsewhere: dict[str, dict[int, float]] = {}
        with suppress(Exception):  # if the server does not answer, those trials are not compared
            elsewhere = self.book.curves(away, stopping.metric)
        return EarlyStoppingGroups(stopping, folder, self.trials, seeds, elsewhere)

    def _searched(self) -> list[Trial]:
        """Return the trials that the search has asked for so far, and its best ones; or the further seeds."""
        if self.seeker is None:
            return list(self.seeds.asked) if self.seeds else []
        return [found.trial for found in self.seeker.asked] + [trial for _, trial in self.seeker.best()]

    def _tell_seeds(self, finished: Iterable[str]) -> None:
        """Pass on trials that other processes have finished since results were read: no executor will."""
        if self.seeds:
            for fingerprint in finished:
                self.seeds.ended(fingerprint)

    def _undelivered_first(self, trials: Iterable[Trial], uploader: Uploader) -> dict[str, Trial]:
        """Queue trials that are finished on disk for upload to MLflow; return the others by fingerprint.

        Failed ones are queued as well if none is tried again.
        """
        left: dict[str, Trial] = {}
        stopping = self.job.plan.early_stopping
        for trial in trials:
            record = Snapshot(())
            with suppress(DamagedRecordError):
                record = snapshot(self.records.folder / trial.fingerprint)
            how = record.end
            stopped = how == "stopped" and stopping and stopping.stopped(record.stopped)
            if how and (how == "finished" or stopped or (how == "failed" and self.job.request.deliver_only)):
                uploader.over_before(trial.fingerprint, how)
            else:
                left[trial.fingerprint] = trial
        return left

    def _dispatch(self, source: Source, uploader: Uploader, rivals: EarlyStoppingGroups | None = None) -> bool:
        job = self.job
        if source.over:
            return True
        if job.request.local:
            return run_here(source, job.place, uploader, self.stop)
        from orchestrator.ray_driver import run_on_ray

        scratch = job.request.output / ".tune"
        return run_on_ray(source, job.place, job.resources, uploader, scratch, self.stop, rivals, self.health)


def _forget_failed(trials: Iterable[Trial], records: Records) -> None:
    """Clear the folders of failed trials, so that nothing of the failed attempt is sent to the new attempt's run."""
    for trial in trials:
        with suppress(DamagedRecordError):
            records.forget_failed(trial.fingerprint)
