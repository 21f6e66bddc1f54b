"""Execution of a plan: open MLflow and Ray, run trials, audit, write the report, return the exit code."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from shutil import rmtree
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator import environment
from orchestrator.command_line import open_page, program_path
from orchestrator.live.interrupt import Stop, on_signals, sigterm_as_ctrl_c
from orchestrator.live.trial_records import Records
from orchestrator.live.uploader import how_it_ended
from orchestrator.planning import given_masks
from orchestrator.planning.check_networks import provide_weights
from orchestrator.report.mlflow_ui.view import LOCAL_SERVER, link, save_overview
from orchestrator.results.moved_store import follow_moved_store
from orchestrator.results.store import ReportError, is_empty, public, public_reason, store_errors
from orchestrator.running.audit_new_trials import audit_new
from orchestrator.running.job import Job
from orchestrator.running.lease import Lease, sole_in_folder
from orchestrator.running.measure_latencies import measure_latencies, wanting_latency
from orchestrator.running.request import Request
from orchestrator.running.resume_studies import answered, end_of_search, settled, take_up, take_up_seeds
from orchestrator.running.run_trials import AWAY_SECONDS, Run
from orchestrator.running.wait_for_server import came_back, deliver_later
from orchestrator.terminal import say
from orchestrator.tracking.experiment import ExperimentRuns, RunStatus, create
from orchestrator.tracking.missing_results import send_missing
from trainables.gpu.memory import sharing
from trainables.record.mlflow import delivers_to
from trainables.record.object_store import require_writable

if TYPE_CHECKING:
    from orchestrator.ray_driver import GpuHealth
    from orchestrator.report.write import WrittenReport
    from orchestrator.search.optuna_study import StudySearcher
    from orchestrator.search.until_decided import SeedsUntilDecided

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def execute(job: Job, console: Console) -> int:
    """Run the trials that are not done, then write the report; return the exit code.

    Raises:
        SpaceError: before anything is written, if the executor or the output folder cannot be used.
    """
    request = job.request
    _prepare(request)
    stop = Stop(request.budget)
    # Ray in a stack of its own: its end takes seconds, in which a kill must not find the experiment locked.
    with ExitStack() as cluster, ExitStack() as stack:
        search, stopping = job.plan.search, job.plan.early_stopping
        sole = Lease(request.output, stop, partial(say, console, style="dim"))
        opening: Future[ExperimentRuns] | None = None
        health: GpuHealth | None = None
        if request.address is None and (request.local or not is_empty(request.tracking_uri)):
            # A store that exists opens while Ray starts, which takes as long. A new one is made when Ray has started.
            opening = _opening(job, sole, stack, console)
        records = job.records()
        seeker = take_up(search, request.output, opening.result(), records) if search and opening else None
        seeds = take_up_seeds(job.plan, opening.result(), records) if job.plan.seeds and opening else None
        work = _has_work(job, opening, seeker, seeds)
        timing = request.latency_alone and (opening is None or wanting_latency(job, opening.result(), records))
        if (work or timing) and not request.local:
            job, health = _connected(job, cluster, console)
        opening = opening or _opening(job, sole, stack, console)
        _provide(job)
        book = opening.result()
        job = replace(job, plan=job.plan.after(book.done(stopping)))  # another sweep may have finished trials meanwhile
        seeker = seeker or (take_up(search, request.output, book, records) if search else None)
        seeds = take_up_seeds(job.plan, book, records)  # with what another sweep may have finished
        parent = _begin(job, book, records, console)
        run = Run(job, book, records, parent, stop, console, seeker, seeds, health)
        with suppress(Exception):  # what an earlier start of this sweep chose stays in its plan
            _log_chosen(job, book, parent, run)
        status: RunStatus = "KILLED"
        before, started, unasked = book.finished, time.monotonic(), 0
        try:
            with on_signals(stop, partial(say, console, style="yellow"), partial(_expect_a_kill, sole, book, parent)):
                undisturbed = run() if work else True
                new, took = book.finished - before, time.monotonic() - started
                untimed = measure_latencies(job, book, records, run.trials, health, console, stop) if undisturbed else 0
                differs = undisturbed and audit_new(job, book.client, new, took, console, stop)
            with sigterm_as_ctrl_c():
                unasked = seeker.unasked if seeker else 0
                chosen = partial(_log_chosen, job, book, parent, run)
                report = _report(job, parent, chosen, console, undisturbed and not run.unsent, stop.is_disk_full)
            missing = {trial.fingerprint for trial in run.trials} - book.done(stopping)
            if not missing and not unasked:
                rmtree(job.place.scores, ignore_errors=True)  # shared scores are no longer needed
            status = "FINISHED" if not missing and not unasked else "FAILED" if undisturbed else "KILLED"
        finally:
            _close(book, parent, status, console, quiet=stop.is_disk_full)
    _last_words(job, book, run, unasked, report, undisturbed, console)
    if untimed or (not undisturbed and (missing or unasked)):
        say(console, f"{stop.reason} The same command continues where this one stopped.", "yellow")
        return FAILED if stop.is_disk_full else INTERRUPTED
    return FAILED if missing or unasked or report is None or differs else DONE


def _prepare(request: Request) -> None:
    """Prepare the output folder's environment; raise SpaceError if the storage cannot be written."""
    environment.prepare_matplotlib(request.output)
    if request.storage:
        require_writable(request.storage)


def _has_work(
    job: Job, opening: Future[ExperimentRuns] | None, seeker: StudySearcher | None, seeds: SeedsUntilDecided | None
) -> bool:
    """Return True if trials are left, or if a search or comparisons may ask for more."""
    known = seeker and opening and settled(seeker, opening.result().done(job.plan.early_stopping))
    return bool(job.plan.todo or (job.plan.search and not known) or (job.plan.seeds and not (seeds and seeds.over)))


def _expect_a_kill(sole: Lease, book: ExperimentRuns, parent: str) -> None:
    """Do at once what a kill within seconds must not prevent; the uploader does the same for the trials' runs."""
    for step in (sole.leave, partial(book.close, parent, "KILLED")):
        with suppress(Exception):  # a server that is away changes nothing: the next driver adopts what it finds
            step()


def _connected(job: Job, stack: ExitStack, console: Console) -> tuple[Job, GpuHealth | None]:
    """Connect to Ray until `stack` closes, and test its GPUs; the returned job has the measured GPU shares."""
    request = job.request
    environment.prepare_ray(request.address)
    from orchestrator.ray_driver import GpuHealth, ray_connection

    mps = stack.enter_context(
        ray_connection(
            request.address, job.resources, request.output, request.tracking_uri, request.data_root, request.storage
        )
    )
    if request.address is not None and job.resources.sharing and mps:  # without an address the plan printed it
        say(console, sharing(mps))
    if not job.resources.gpus:
        return job, None
    health = GpuHealth(partial(say, console, style="yellow"))
    stack.callback(health.close)
    health.try_all()
    return _measured(job, console) if job.resources.auto else job, health


def _begin(job: Job, book: ExperimentRuns, records: Records, console: Console) -> str:
    """Open the sweep's run in MLflow and save its charts; complete earlier runs; return the run's id."""
    with store_errors(job.request.tracking_uri):
        book.reconcile(job.plan)
        parent = book.start_sweep(job.plan, public(job.request.command))
    with suppress(Exception):  # the charts are optional
        save_overview(book.client, book.experiment_id)
    _complete(job, book, records, console)
    return parent


def _log_chosen(job: Job, book: ExperimentRuns, parent: str, run: Run) -> None:
    """Log the plan again with the trials that a search chose, or with the further seeds that comparisons needed."""
    if run.seeker:
        book.log_plan(parent, answered(job.plan.record(), run.seeker))
    if run.seeds:
        book.log_plan(parent, run.seeds.record(job.plan.record(), book.finished))


def _complete(job: Job, book: ExperimentRuns, records: Records, console: Console) -> None:
    """Send what runs that finished in earlier sweeps lack of their trials' records, and tell the user."""
    finished = {fp: book.runs[fp].run_id for fp in job.plan.done if fp in book.finished}
    say = partial(console.print, style="yellow", markup=False, highlight=False, soft_wrap=True)
    try:
        marked = [fp for fp, run_id in finished.items() if delivers_to(records.folder / fp, run_id)]
        records.refresh(marked)
        sent = send_missing(book.client, finished, records.folder, {})
    except Exception as error:  # noqa: BLE001 - servers and storages raise many kinds; the next sweep looks again
        say(f"finished runs were not compared with their trials' records ({public_reason(error)})")
        return
    if sent:
        runs = "1 finished run" if len(sent) == 1 else f"{len(sent)} finished runs"
        say(f"{runs} lacked results that the trials' records have; they were sent")


def _close(book: ExperimentRuns, parent: str, status: RunStatus, console: Console, quiet: bool) -> None:
    """Close the sweep's run. If the store does not take that, the run stays open until the command is run again.

    If `quiet`, say nothing then, because the user is told already that nothing can be written.
    """
    try:
        if status != "KILLED":
            book.settle(parent)
        book.close(parent, status)
    except Exception as error:  # noqa: BLE001 - servers, databases and disks raise many kinds of errors
        if quiet:
            return
        reason = public_reason(error)
        say = f"MLflow did not accept the end of this sweep ({reason}); run the same command again to record it."
        console.print(say, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _provide(job: Job) -> None:
    """Put the given weights and masks that trials start from into the storage."""
    trials = (*job.plan.started, *job.plan.examples)
    provide_weights([trial.network for trial in trials], job.plan.weight_files, job.place)
    wanted = {trial.mask for trial in (*job.plan.todo, *job.plan.examples)}
    masks = {digest: given for digest, given in job.plan.masks.items() if digest in wanted}
    given_masks.provide(masks, job.request.tracking_uri, job.place)


def _opening(job: Job, sole: Lease, stack: ExitStack, console: Console) -> Future[ExperimentRuns]:
    """Open the experiment in a thread and return its future; locks in `stack` make this the only driver that writes."""
    stack.enter_context(sole_in_folder(job.request.output))
    pool = stack.enter_context(ThreadPoolExecutor(1))
    say = partial(console.print, style="dim", markup=False, highlight=False, soft_wrap=True)
    return pool.submit(_open, job, stack.enter_context(sole), say)


def _open(job: Job, sole: Lease, say: Callable[[str], None]) -> ExperimentRuns:
    # A server has its own artifact location; a local store would use a path relative to the current folder.
    artifacts = None if job.request.tracking_uri.startswith("http") else job.request.output / "artifacts"
    if artifacts and follow_moved_store(job.request.tracking_uri):
        say(f"these results were moved or copied; the store now has its files in {artifacts.resolve()}")
    book = create(job.request.tracking_uri, job.experiment, artifacts)
    with store_errors(job.request.tracking_uri):
        sole.claim(book)
    return book


def _measured(job: Job, console: Console) -> Job:
    """Return the job with the measured share of a GPU for each trial, so that as many run at once as fit."""
    from orchestrator.ray_driver import measured_shares

    def say(line: str) -> None:
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)

    wanted = {trial.fingerprint: trial for trial in (*job.plan.started, *job.plan.examples)}
    with console.status("measuring how much of a GPU the trials need"):
        shares = measured_shares(tuple(wanted.values()), job.resources, say)
    # Trials that a search chooses get the largest share that any example needs, further seeds that of any first one.
    alike = job.plan.started if job.plan.seeds else job.plan.examples
    most = max((shares[trial.fingerprint] for trial in alike), default=job.resources.gpus)
    return replace(job, resources=replace(job.resources, gpus=most, shares=shares))


def _report(
    job: Job, parent: str, log_plan: Callable[[], None], console: Console, patient: bool, full: bool
) -> WrittenReport | None:
    """Log the whole plan by `log_plan` and write the report; return None if one of them could not be done.

    If `patient`, wait for a server that is away. If the disk is `full`, try nothing. The next start of the same command
    does what is left.
    """
    if full:
        return None
    from orchestrator.report.write import write_report

    uri = job.request.tracking_uri
    while True:
        try:
            with console.status("writing the report"):
                log_plan()  # the report reads the plan: without what a search chose it would lack those trials
                return write_report(uri, job.experiment, job.request.output / "report", run_id=parent)
        except ReportError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the results are safe, and the sweep's run must still be closed
            reason = f"{type(error).__name__}: {public_reason(error)}"
        if not patient or not came_back(uri, AWAY_SECONDS, console):
            break
        patient = False
    console.print(f"no report: {public(reason)}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    return None


def _last_words(
    job: Job,
    book: ExperimentRuns,
    run: Run,
    unasked: int,
    report: WrittenReport | None,
    undisturbed: bool,
    console: Console,
) -> None:
    """Print whether a search has ended, the counts of trials, where the report and MLflow are, and the answer.

    `unasked` trials were not chosen by a search yet. If nobody interrupted the sweep, what could not be sent is left to
    another process.
    """
    if run.seeker and (ended := end_of_search(run.seeker)):
        say(console, ended)
    done, trials = book.done(job.plan.early_stopping), run.trials
    missing = [trial for trial in trials if trial.fingerprint not in done]
    stopped_early = sum(trial.fingerprint not in book.finished for trial in trials) - len(missing)
    failed = sum(book.runs[t.fingerprint].status == "FAILED" for t in missing if t.fingerprint in book.runs)
    total = len(trials) + unasked
    counts = f"{len(trials) - len(missing) - stopped_early} of {total} trials finished"
    counts += f", {stopped_early} stopped early" if stopped_early else ""
    unsent = sum(how_it_ended(job.folder / t.fingerprint) == "finished" for t in missing)
    idle = len(missing) + unasked - failed - unsent
    counts += f", {failed} failed" if failed else ""
    counts += f", {unsent} computed and not in MLflow yet" if unsent else ""
    counts += f", {idle} not done" if idle > 0 else ""
    console.print(counts, style="bold", highlight=False)
    as_is = {"markup": False, "highlight": False, "soft_wrap": True}
    if report is not None:
        console.print(f"Report  {report.page}", **as_is)  # type: ignore[arg-type]
        if job.request.show and (trouble := open_page(report.page)):
            console.print(trouble, style="yellow", **as_is)  # type: ignore[arg-type]
    server = public(job.request.tracking_uri).rstrip("/")
    if not server.startswith("http"):
        command = f"{program_path('mlflow')} ui --backend-store-uri {shlex.quote(server)}"
        console.print(f"MLflow  {command}   then open", **as_is)  # type: ignore[arg-type]
        server = LOCAL_SERVER
    console.print(f"        {server}/{link(book.experiment_id)}", **as_is)  # type: ignore[arg-type]
    if report is not None:
        from orchestrator.report.terminal_answer import print_answer

        print_answer(report.results, console)
    if undisturbed:
        deliver_later(job.request, console)
