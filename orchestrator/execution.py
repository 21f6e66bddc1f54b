"""A plan carried out: executor, watch, progress, report, exit code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from orchestrator import environment
from orchestrator.ledger import Ledger, Status
from orchestrator.local import run_here
from orchestrator.networks import provide_weights
from orchestrator.plan import Plan
from orchestrator.progress import Progress
from orchestrator.records import Fetched, Records
from orchestrator.resources import Resources
from orchestrator.results import ReportError, public
from orchestrator.sources import Listed, Source
from orchestrator.stopping import Stop, on_signals
from orchestrator.store import create, one_line
from orchestrator.view import link
from orchestrator.watch import Watch, how_it_ended
from search_spaces import SpaceError, Trial
from trainables.outbox import DamagedRecordError
from trainables.run import Place
from trainables.storage import is_object_store, refused, require_writable

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
WEIGHTS_MB = 1024.0  # of trained weights that one sweep keeps; a large sweep keeps none


@dataclass(frozen=True)
class Job:
    """A plan, and where and how to carry it out."""

    plan: Plan
    seconds: Mapping[str, float]  # expected, by fingerprint
    output: Path
    data_root: Path | None
    tracking_uri: str
    experiment: str
    resources: Resources
    address: str | None
    local: bool
    command: str
    shares: Mapping[str, float] = field(default_factory=dict)  # of a GPU, by fingerprint, where they were measured
    storage: str = ""  # where trials keep their things: a path or an object store; default: in the output folder
    save_seconds: float = 60.0  # between two checkpoints of a trial
    budget: float | None = None  # seconds after which no trial starts, and those that run stop at a checkpoint

    @property
    def mirror(self) -> str:
        """The object store, "" if trials keep their things on a path."""
        return self.storage if is_object_store(self.storage) else ""

    @property
    def folder(self) -> Path:
        """Where the driver reads the trials' records."""
        return (self.output / "checkpoints" if self.mirror or not self.storage else Path(self.storage)).resolve()

    @property
    def place(self) -> Place:
        """Where the trials run, as far as the driver decides it. Absolute: workers have folders of their own."""
        return Place(
            storage=self.output.resolve() / ".scratch" if self.mirror else self.folder,
            mirror=self.mirror,
            save_seconds=self.save_seconds,
            cache=(self.output / "data").resolve(),
            data_root=self.data_root.resolve() if self.data_root else None,
            device="cuda" if self.resources.gpus else "cpu",
            threads=max(1, int(self.resources.cpus)),
            weights_mb=WEIGHTS_MB / len(self.plan.trials),
        )


def execute(job: Job, console: Console) -> int:
    """Run what is to do, then report on all. Returns the exit code.

    Raises:
        SpaceError: before anything is written, if the executor or the output folder cannot be had.
    """
    environment.prepare_matplotlib(job.output)
    if job.storage:
        require_writable(job.storage)
    stop = Stop(job.budget)
    with ExitStack() as stack:
        todo = job.plan.todo
        pool = stack.enter_context(ThreadPoolExecutor(1))
        opening: Future[Ledger] | None = None
        if job.address is None:  # all that a user can get wrong is checked; the store takes as long to open as Ray
            stack.enter_context(_sole_driver(job.output))
            opening = pool.submit(_open, job)
        if todo and not job.local:
            environment.prepare_ray(job.address)
            from orchestrator.driver import connected

            stack.enter_context(connected(job.address, job.resources, job.output, job.tracking_uri, job.data_root))
            if todo and job.resources.auto:
                job = _measured(job, console)
        if opening is None:
            stack.enter_context(_sole_driver(job.output))
            opening = pool.submit(_open, job)
        starts = [trial.network for trial in (*job.plan.pretraining, *todo)]
        provide_weights(starts, job.plan.weight_files, job.place.pretrained)
        book = opening.result()
        with one_line(job.tracking_uri):
            book.reconcile(job.plan)
            parent = book.start_sweep(job.plan, job.command)
        status: Status = "KILLED"
        try:
            with on_signals(stop):
                undisturbed = _run(job, book, parent, stop, console) if todo else True
            page = _report(job, console)
            missing = [trial for trial in job.plan.trials if trial.fingerprint not in book.finished]
            status = "FINISHED" if not missing else "FAILED" if undisturbed else "KILLED"
        finally:
            _close(book, parent, status, console)
    _last_words(job, book, missing, page, console)
    if not undisturbed and missing:
        console.print(f"{stop.reason} The same command goes on where this one stopped.", style="yellow", markup=False)
        return INTERRUPTED
    return FAILED if missing or page is None else DONE


def _close(book: Ledger, parent: str, status: Status, console: Console) -> None:
    """Close the sweep's run. A server that is away costs nothing but that: the same command closes it."""
    try:
        book.close(parent, status)
    except Exception as error:  # noqa: BLE001 - the kinds of a server's, a database's, a disk's errors are many
        reason = " ".join(str(error).split())[:200]
        say = f"MLflow does not take the end of this sweep ({reason}); the same command brings it up to date."
        console.print(say, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _open(job: Job) -> Ledger:
    # A server keeps artifacts where it was told to; a store used directly would put them where we happen to stand.
    artifacts = None if job.tracking_uri.startswith("http") else job.output / "artifacts"
    return create(job.tracking_uri, job.experiment, artifacts)


@contextmanager
def _sole_driver(output: Path) -> Iterator[None]:
    """Inside, no other sweep can run on this output folder."""
    lock = FileLock(output / ".sweep.lock")
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise SpaceError(f"--output: another sweep is running on '{output}'; wait for it or give another") from None
    except OSError as error:
        raise SpaceError(f"--output: '{output}' cannot be written ({error.strerror})") from None
    with lock:
        lock.release()  # the context holds it a second time
        yield


def _run(job: Job, book: Ledger, parent: str, stop: Stop, console: Console) -> bool:
    """Run the trials to do; False if it was stopped before they were done."""
    todo = sorted(job.plan.todo, key=lambda trial: -job.seconds[trial.fingerprint])  # a long one last would idle all
    place = job.place
    with refused(job.storage):
        records = Fetched(job.folder, job.mirror) if job.mirror else Records(job.folder)
        records.refresh([trial.fingerprint for trial in (*job.plan.pretraining, *todo)])
        stages = [dense for dense in job.plan.pretraining if not records.trained(dense.fingerprint)]
        _forget_failed((*stages, *todo), records)
    seconds = {trial.fingerprint: job.seconds[trial.fingerprint] for trial in (*stages, *todo)}
    with Progress(todo, seconds, len(job.plan.done), console, stages) as progress:
        trials = {trial.fingerprint: trial for trial in todo}
        watch = Watch(book, trials, records, parent, progress.event, progress.notice)
        watch.start()
        try:
            left = [trial for trial in _undelivered_first(todo, records, watch) if trial not in stages]
            undisturbed = all(_dispatch(job, Listed(wave), place, watch, stop) for wave in (stages, left) if wave)
        finally:
            waiting = watch.close()
    for fingerprint, reason in list(waiting.items())[:3]:
        console.print(f"not sent: {fingerprint}: {reason}", style="yellow", markup=False, highlight=False)
    if waiting:
        console.print(f"{len(waiting)} trials could not be sent to MLflow yet; the same command sends them.")
    return undisturbed


def _undelivered_first(todo: list[Trial], records: Records, watch: Watch) -> list[Trial]:
    """What is left to compute once the results that lie finished on disk are on their way to MLflow."""
    left = []
    for trial in todo:
        if how_it_ended(records.folder / trial.fingerprint) == "finished":
            watch.started(trial.fingerprint)
            watch.ended(trial.fingerprint)
        else:
            left.append(trial)
    return left


def _forget_failed(trials: Iterable[Trial], records: Records) -> None:
    """Clear the folders of failed trials now, so that nothing of that attempt is sent to the run of the new one."""
    for trial in trials:
        with suppress(DamagedRecordError):
            records.forget_failed(trial.fingerprint)


def _dispatch(job: Job, source: Source, place: Place, watch: Watch, stop: Stop) -> bool:
    if job.local:
        return run_here(source, place, watch, stop)
    from orchestrator.driver import run_on_ray

    return run_on_ray(source, place, job.resources, watch, job.output / ".tune", stop, job.shares)


def _measured(job: Job, console: Console) -> Job:
    """The job with a share of a GPU for each trial: as many at once as fit."""
    from orchestrator.driver import measured_shares

    def say(line: str) -> None:
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)

    with console.status("trying out how much of a GPU the trials need"):
        shares = measured_shares((*job.plan.pretraining, *job.plan.todo), job.resources, say)
    return replace(job, shares=shares)


def _report(job: Job, console: Console) -> Path | None:
    """The page, or None if it could not be made."""
    from orchestrator.report import write_report

    try:
        with console.status("writing the report"):
            return write_report(job.tracking_uri, job.experiment, job.output / "report")
    except (ReportError, OSError) as error:
        console.print(f"no report: {error}", style="yellow", markup=False, highlight=False)
        return None


def _last_words(job: Job, book: Ledger, missing: list[Trial], page: Path | None, console: Console) -> None:
    """Where everything is."""
    failed = sum(book.runs[t.fingerprint].status == "FAILED" for t in missing if t.fingerprint in book.runs)
    total = len(job.plan.trials)
    counts = f"{total - len(missing)} of {total} trials finished"
    unsent = sum(how_it_ended(job.folder / t.fingerprint) == "finished" for t in missing)
    idle = len(missing) - failed - unsent
    counts += f", {failed} failed" if failed else ""
    counts += f", {unsent} computed and not in MLflow yet" if unsent else ""
    counts += f", {idle} not done" if idle > 0 else ""
    console.print(counts, style="bold", highlight=False)
    say = {"markup": False, "highlight": False, "soft_wrap": True}
    if page is not None:
        console.print(f"Report  {page}", **say)  # type: ignore[arg-type]
    server = public(job.tracking_uri).rstrip("/")
    if not server.startswith("http"):
        console.print(f"MLflow  mlflow ui --backend-store-uri {server}   then open", **say)  # type: ignore[arg-type]
        server = "http://127.0.0.1:5000"
    console.print(f"        {server}/{link(book.experiment_id)}", **say)  # type: ignore[arg-type]
