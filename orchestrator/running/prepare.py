"""From the command line to a job: read the request, plan the space, estimate its cost, and run it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console
from rich.text import Text

from orchestrator.live.interrupt import length
from orchestrator.planning.check_networks import dense_shares
from orchestrator.planning.epoch_times import shape, trial_kind, trial_seconds
from orchestrator.planning.estimate import Estimate, estimate
from orchestrator.planning.estimate import show as show_cost
from orchestrator.planning.plan import Plan, plan, size_words
from orchestrator.planning.resources import Resources
from orchestrator.report.published_recipes import as_published
from orchestrator.results.own_runs import foreign_words
from orchestrator.results.store import ReportError, require_answer, require_name, sqlite_uri
from orchestrator.running.execute import DONE, execute
from orchestrator.running.job import Job
from orchestrator.running.request import Request
from orchestrator.running.resource_flags import PACK, resources_of, room_for
from orchestrator.running.resume_studies import require_storage
from orchestrator.terminal import say, several
from orchestrator.tracking.experiment import ExperimentRuns, existing
from orchestrator.tracking.measured_speeds import images_per_second, of_one_worker
from pruners import PruningError
from search_spaces import Space, SpaceError, Trial, load
from trainables.datasets import DatasetError
from trainables.gpu.check import unused_accelerator
from trainables.record.object_store import Bucket, is_object_store
from trainables.training.precision import on_cpu

# Printed in one line. Any other error is a bug of ours and is printed with its traceback.
REFUSALS = (SpaceError, PruningError, DatasetError, ReportError)


def read_request(args: argparse.Namespace, command: str) -> Request:
    """Return the parsed command line as a typed record.

    Raises:
        SpaceError: in one line, if an option has a value that is not allowed.
    """
    if args.pack is not None:
        raise SpaceError(PACK)
    if args.local and args.address is not None:
        raise SpaceError("--address: --local runs the trials in this process, on no cluster; leave one of the two out")
    if is_object_store(args.storage):
        Bucket(args.storage)  # rejects what can be seen without writing
    output = args.output.expanduser()
    return Request(
        output=output,
        tracking_uri=args.tracking_uri or sqlite_uri(output / "mlflow.db"),
        experiment=args.experiment,
        command=command,
        data_root=args.data_root and args.data_root.expanduser(),
        storage=args.storage,
        save_seconds=length(args.checkpoint_every, "--checkpoint-every"),
        budget=None if args.time_budget is None else length(args.time_budget),
        address=args.address,
        local=args.local,
        dry_run=args.dry_run,
        force=args.force,
        show=args.open,
        audit=args.audit,
        latency_alone=args.latency == "alone",
        scoring_images=args.scoring_images,
        cpus_per_trial=args.cpus_per_trial,
        gpus_per_trial=args.gpus_per_trial,
        workers_per_trial=args.workers_per_trial,
        max_concurrent=args.max_concurrent,
    )


@dataclass(frozen=True)
class Prepared:
    """A plan, and what the store knows of its experiment."""

    plan: Plan
    experiment: str
    known: ExperimentRuns | None  # None: the store has no such experiment yet
    over: bool  # whether its search, or its further seeds, have nothing left to ask for

    @property
    def todo(self) -> tuple[Trial, ...]:
        """Return the trials that are sure to start, and examples of those that a search will choose."""
        return (*self.plan.started, *(() if self.over else self.plan.examples))

    @property
    def most(self) -> Plan | None:
        """Return the plan in which every comparison needs the most seeds; None if the seeds are fixed."""
        if self.plan.seeds is None or self.over:
            return None
        return self.plan.with_most_seeds.after(self.known.done(None) if self.known else ())


@dataclass(frozen=True)
class Cost:
    """What each trial gets of the machines, and how long it will take."""

    resources: Resources
    seconds: Mapping[str, float]  # by fingerprint
    notices: tuple[str, ...]
    estimate: Estimate
    most: Estimate | None  # if every comparison needs the most seeds; None if the seeds are fixed


def sweep(request: Request, space: str, overrides: Sequence[str], console: Console) -> int:
    """Plan the space, print the plan and its cost, and run it; return the exit code.

    Raises:
        SpaceError, PruningError, DatasetError, ReportError: in one line, if something is invalid, before anything is
            written.
    """
    loaded = load(space, overrides)
    request = request.with_space(loaded)
    resources = resources_of(request)
    if large := size_words(loaded):
        say(console, large, "yellow")
    prepared = prepare_plan(request, loaded)
    _show(prepared.plan, prepared.over, console)
    tell = partial(say, console, style="yellow")
    cost = estimate_cost(request, prepared, resources, tell)
    if prepared.todo or prepared.most:
        console.print(f"each trial gets {cost.resources}", highlight=False)
        for notice in cost.notices:
            tell(notice)
        show_cost(cost.estimate, console, request.dry_run, request.address is None, cost.most)
    return DONE if request.dry_run else execute(_job(request, prepared, cost), console)


def prepare_plan(request: Request, space: Space) -> Prepared:
    """Plan the space, without what the store says is done.

    Raises:
        SpaceError, PruningError, DatasetError, ReportError: in one line, if something is invalid.
    """
    if space.early_stopping and request.local:
        raise SpaceError(
            "early_stopping: --local runs one trial after the other, with nothing to compare it to; "
            "leave one of the two out"
        )
    uri = request.tracking_uri
    cache = request.output / "data"
    if space.search and space.search.storage:
        require_storage(space.search.storage)
    planned = plan(space, data_root=request.data_root, cache=cache, force=request.force, tracking_uri=uri)
    experiment = space.name if request.experiment is None else request.experiment
    require_name(experiment)
    require_answer(uri)
    known = existing(uri, experiment)
    planned = planned.after(known.done(space.early_stopping) if known else ())
    chosen = planned.search or planned.seeds  # trials that are not known yet
    over = bool(chosen and known and not planned.todo and known.settled(planned))
    if foreign := foreign_words(known.foreign) if known else "":
        planned = replace(planned, notices=(*planned.notices, foreign))
    return Prepared(planned, experiment, known, over)


def estimate_cost(request: Request, prepared: Prepared, resources: Resources, say: Callable[[str], object]) -> Cost:
    """Find out what there is to run on, and how long the trials will take there.

    Raises:
        SpaceError: in one line, if the cluster cannot be joined or cannot give what a trial needs.
    """
    planned, known, most = prepared.plan, prepared.known, prepared.most
    todo = (*prepared.todo, *(most.started if most else ()))
    nodes: list[dict[str, float]] = []
    shared = ""
    if planned.started or planned.search or most:
        nodes, resources, shared = room_for(request, resources, say)
    on_gpu = bool(resources.gpus)
    measured, machines = known.epoch_seconds(on_gpu=on_gpu) if known else ({}, set())
    unmeasured = [trial for trial in todo if trial_kind(trial) not in measured]
    speeds, others = images_per_second(request.tracking_uri, unmeasured, on_gpu)
    # As if workers had nothing to tell each other: what that costs is known where trials were run by as many before.
    seconds = {key: spent / resources.workers for key, spent in trial_seconds(todo, measured, speeds).items()}
    notices = tuple(filter(None, (shared, *_device_notices(request, todo, on_gpu))))

    def cost_of(some: Plan, trials: Sequence[Trial]) -> Estimate:
        each = {trial.fingerprint: trial for trial in trials}.values()
        seen = sum(trial_kind(trial) in measured or shape(trial) in speeds for trial in each)
        return estimate(some, seconds, seen, machines | others, nodes, resources, request.local)

    at_most = None if most is None else cost_of(most, most.started)
    return Cost(resources, seconds, notices, cost_of(planned, prepared.todo), at_most)


def _device_notices(request: Request, todo: Sequence[Trial], on_gpu: bool) -> Iterator[str]:
    """Yield what the user should know of the device that the trials get."""
    if on_gpu:
        return
    if request.gpus_per_trial is None:
        yield unused_accelerator()
    if any(trial.precision == "bfloat16" for trial in todo):
        yield on_cpu()
    if any(trial.precision == "tf32" for trial in todo):
        yield "precision: tf32 is for NVIDIA GPUs; on CPUs these trials train in float32"


def _job(request: Request, prepared: Prepared, cost: Cost) -> Job:
    alone = of_one_worker(request.tracking_uri, prepared.todo) if cost.resources.workers > 1 else {}
    return Job(request, prepared.plan, prepared.experiment, cost.resources, cost.seconds, alone)


def _show(planned: Plan, over: bool, console: Console) -> None:
    """Print the plan in a few lines; `over` is True if its search has no trials left."""
    title = Text(planned.space, "bold") + Text(f": {planned.description}" if planned.description else "")
    console.print(title, soft_wrap=True)
    for notice in planned.notices:
        console.print(notice, style="yellow", markup=False, highlight=False)
    if planned.cells or not planned.search:  # searched cells are described by the search line
        shared = len(planned.cells) - len(planned.trials)
        sharing = f" ({several(shared, 'cell')} share{'s' * (shared == 1)} a trial)" if shared else ""
        console.print(
            f"{several(len(planned.cells), 'cell')}, {several(len(planned.trials), 'unique trial')}{sharing}, "
            f"{len(planned.done)} done before, {len(planned.todo)} to do",
            highlight=False,
        )
    for line in as_published(planned.space, planned.cells, planned.trials):
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    if planned.search:
        console.print(f"search: {planned.search.words}{'; nothing left to do' if over else ''}", highlight=False)
    if planned.seeds:
        console.print(f"seed: {planned.seeds.words}{'; nothing left to do' if over else ''}", highlight=False)
    for line in dense_shares((*planned.trials, *planned.examples)):
        console.print(f"  {line}", style="dim", markup=False, highlight=False, soft_wrap=True)
    for stage in planned.stages if planned.todo or (planned.search and not over) else ():
        users = several(stage.serves, "cell" if stage.kind == "dense" else "trial")
        often = "once" if stage.times == 1 else f"{stage.times} times"
        console.print(f"  {often} for {users}: {stage.kind} {stage.name}", style="dim", highlight=False, soft_wrap=True)
