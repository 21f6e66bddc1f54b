"""One command from a space to its report. Run it again after anything: it does what is not done yet.

prune-sweep [SPACE] [--set field=value ...], or python -m orchestrator.sweep
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from orchestrator.called import called
from orchestrator.cost import Shape, kind, several, shape, trial_seconds
from orchestrator.environment import prepare_ray
from orchestrator.estimate import estimate
from orchestrator.estimate import show as show_cost
from orchestrator.execution import DONE, INTERRUPTED, REFUSED, Job, execute
from orchestrator.listing import show
from orchestrator.opening import existing
from orchestrator.plan import Plan, plan
from orchestrator.resources import (
    AS_MANY,
    FRACTION,
    Resources,
    each_worker,
    require_legal,
    require_somewhere,
    room,
    spread,
    this_machine,
    usual_share,
)
from orchestrator.speeds import images_per_second, of_one_worker
from orchestrator.stopping import length
from orchestrator.store import connect, one_line, public, require_answer, require_name, sqlite_file
from search_spaces import SpaceError, Trial, load
from trainables.precision import on_cpu
from trainables.storage import Bucket, is_object_store


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=called("orchestrator.sweep"), description=(__doc__ or "").split("\n")[0])
    p.add_argument("space", nargs="?", default="digits", help="a preset's name or a YAML file (default: digits)")
    override = "override a field of the space; VALUE in YAML, for example compression=[1,10,100]"
    p.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="overrides", help=override)
    p.add_argument("--list", action="store_true", help="show presets, pruners, architectures and datasets; run nothing")
    p.add_argument("--dry-run", action="store_true", help="show the plan and what it will cost; run nothing")
    p.add_argument("--force", action="store_true", help="run pruners on networks where their scores mean nothing")
    p.add_argument("--open", action="store_true", help="show the report in the browser at the end")
    p.add_argument("--output", type=Path, default=Path("results"), help="folder for everything (default: results)")
    p.add_argument("--experiment", help="MLflow experiment (default: the space's name)")
    p.add_argument("--tracking-uri", help="MLflow store or server (default: SQLite in the output folder)")
    storage = "where trials keep checkpoints and results: a path, s3://… or gs://… (default: in the output folder)"
    p.add_argument("--storage", metavar="URI", default="", help=storage)
    cadence = "how often a trial saves where it stands, also within long epochs (default: 60s)"
    p.add_argument("--checkpoint-every", metavar="TIME", default="60s", help=cadence)
    p.add_argument("--data-root", type=Path, help="datasets that are on disk already; only read")
    p.add_argument(
        "--address",
        help="a running Ray cluster: auto or HOST:PORT, all of its nodes sharing --output (default: start Ray here)",
    )
    p.add_argument("--local", action="store_true", help="one trial after the other in this process, without Ray")
    pack = "train up to K trials at once in one process; auto: as many as fit on a GPU, 1 on CPUs (default: 1)"
    p.add_argument("--pack", metavar="K|auto", help=pack)
    p.add_argument("--cpus-per-trial", type=float, default=1, metavar="N", help="or per worker of one (default: 1)")
    packing = "a fraction packs several trials on a GPU; auto: as many as fit (default: 0.25 if there is a GPU, else 0)"
    packing += "; a whole number above 1 is as many workers with a GPU each"
    p.add_argument("--gpus-per-trial", metavar="N", help=packing)
    workers = "processes that train each trial together, on parts of its batches: same numbers, sooner (default: 1)"
    p.add_argument("--workers-per-trial", type=int, metavar="N", help=workers)
    budget = "stop after so long (2h30m, 1d, 90 s as 90); the same command goes on later"
    p.add_argument("--time-budget", metavar="TIME", help=budget)
    p.add_argument("--max-concurrent", type=int, metavar="N", help="trials at once (default: as many as fit)")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 all done, 1 some failed, 2 refused, 130 interrupted."""
    args = parser().parse_args(arguments)
    console = Console()
    if args.list:
        show(console)
        return DONE
    try:
        return _sweep(args, console, shlex.join(arguments if arguments is not None else sys.argv[1:]))
    except ValueError as error:
        Console(stderr=True).print(f"sweep: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED


def _sweep(args: argparse.Namespace, console: Console, command: str) -> int:
    output: Path = args.output
    tracking_uri = args.tracking_uri or f"sqlite:///{(output / 'mlflow.db').resolve()}"
    save_seconds = length(args.checkpoint_every, "--checkpoint-every")
    storage: str = args.storage
    if is_object_store(storage):
        Bucket(storage)  # refuses what can be seen without writing
    budget = length(args.time_budget) if args.time_budget is not None else None
    space = load(args.space, args.overrides)
    if args.gpus_per_trial is None and space.gpus_per_trial is not None:
        args.gpus_per_trial = str(space.gpus_per_trial)
    if args.workers_per_trial is None:
        args.workers_per_trial = space.workers_per_trial
    resources = _resources(args)
    if space.early_stopping and args.local:
        raise SpaceError(
            "early_stopping: --local runs one trial after the other, with nothing to compare it to; "
            "leave one of the two out"
        )
    planned = plan(space, data_root=args.data_root, cache=output / "data", force=args.force, tracking_uri=tracking_uri)
    experiment = space.name if args.experiment is None else args.experiment
    require_name(experiment)
    require_answer(tracking_uri)
    known = existing(tracking_uri, experiment)
    planned = planned.after(known.done(space.early_stopping) if known else ())
    over = bool(planned.search and known and not planned.todo and known.settled(planned))
    todo = (*planned.started, *(() if over else planned.examples))
    _show(planned, over, console)
    nodes, resources = _room(args, resources, tracking_uri) if planned.started or planned.search else ([], resources)
    if args.pack == "auto":
        resources = spread(resources, len(todo) + planned.to_choose, nodes)
    measured, machines = known.epoch_seconds(on_gpu=bool(resources.gpus)) if known else ({}, set())
    speeds, others = _speeds([t for t in todo if kind(t) not in measured], tracking_uri, bool(resources.gpus))
    # As if workers had nothing to tell each other: what that costs is known where trials were run by as many before.
    seconds = {key: spent / resources.workers for key, spent in trial_seconds(todo, measured, speeds).items()}
    if todo:
        console.print(f"each trial gets {resources}", highlight=False)
        if not resources.gpus and any(trial.precision == "bfloat16" for trial in todo):
            console.print(on_cpu(), style="yellow", markup=False, highlight=False, soft_wrap=True)
        each = {trial.fingerprint: trial for trial in todo}.values()
        seen = sum(kind(trial) in measured or shape(trial) in speeds for trial in each)
        show_cost(
            estimate(planned, seconds, seen, machines | others, nodes, resources, args.local),
            console,
            args.dry_run,
            args.address is None,
        )
    if args.dry_run:
        return DONE
    job = Job(
        plan=planned,
        seconds=seconds,
        output=output,
        data_root=args.data_root,
        tracking_uri=tracking_uri,
        experiment=experiment,
        resources=resources,
        address=args.address,
        local=args.local,
        command=public(command),
        show=args.open,
        budget=budget,
        storage=storage,
        save_seconds=save_seconds,
        alone=_alone(todo, tracking_uri) if resources.workers > 1 else {},
    )
    return execute(job, console)


def _resources(args: argparse.Namespace) -> Resources:
    here = this_machine()
    auto = args.gpus_per_trial == "auto"
    gpus = 1.0 if auto else _number("--gpus-per-trial", args.gpus_per_trial or "0")
    several = f"is for trials of one worker, and {args.workers_per_trial or f'{gpus:g}'} are asked for"
    if auto and (args.workers_per_trial or 1) > 1:
        raise SpaceError(f"--gpus-per-trial: auto {several}")
    gpus, workers = each_worker(gpus, args.workers_per_trial)
    if workers > 1 and args.pack is not None:
        raise SpaceError(f"--pack: {args.pack} {several}")
    resources = Resources(
        args.cpus_per_trial, gpus, args.max_concurrent, auto and not args.local, _pack(args.pack), workers
    )
    require_legal(resources)
    if args.address is None:  # else nothing is known yet
        resources = _usual(args, resources, [here])
        require_somewhere([here], resources)
    return resources


def _usual(args: argparse.Namespace, resources: Resources, nodes: Sequence[Mapping[str, float]]) -> Resources:
    """What a trial gets where nobody says otherwise, on such `nodes`."""
    if args.pack == "auto":
        if not any(node.get("GPU", 0) for node in nodes) or args.gpus_per_trial == "0":
            return resources  # on CPUs it does not pay
        if args.local:
            raise SpaceError("--pack: auto finds out on Ray how many fit; give a number with --local")
        if args.gpus_per_trial not in (None, "auto"):
            return replace(resources, pack=max(1, int(1 / resources.gpus)))
        return replace(resources, gpus=1.0, auto=True, pack=AS_MANY)
    if args.gpus_per_trial is None:
        share = usual_share(nodes, resources.pack)
        return replace(resources, gpus=share if resources.workers == 1 else math.ceil(share))
    return resources


def _pack(text: str | None) -> int:
    if text is None or text == "auto":
        return 1
    try:
        return int(text)
    except ValueError:
        raise SpaceError(f"--pack: '{text}' is not allowed; it must be auto or a whole number from 1") from None


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SpaceError(f"{flag}: '{text}' is not allowed; it must be auto, {FRACTION}") from None


def _room(
    args: argparse.Namespace, resources: Resources, tracking_uri: str
) -> tuple[list[dict[str, float]], Resources]:
    """What there is to run on, and what a trial gets of it."""
    if args.address is None or args.local:
        return [this_machine()], resources
    prepare_ray(args.address)
    from orchestrator.driver import connected, survey

    nodes, to_come = survey(args.address)
    resources = _usual(args, resources, [*nodes, *to_come])
    if args.dry_run:  # what would be refused is refused now
        with connected(args.address, resources, args.output, tracking_uri, args.data_root, args.storage):
            pass
    return [node for node in nodes if room(resources, node)] or to_come, resources


def _alone(trials: Sequence[Trial], tracking_uri: str) -> dict[str, dict[str, float]]:
    file = sqlite_file(tracking_uri)
    if file is not None and not file.exists():
        return {}
    with one_line(tracking_uri):
        return of_one_worker(connect(tracking_uri), trials)


def _speeds(trials: Sequence[Trial], tracking_uri: str, on_gpu: bool) -> tuple[dict[Shape, list[float]], set[str]]:
    file = sqlite_file(tracking_uri)
    if not trials or (file is not None and not file.exists()):
        return {}, set()
    with one_line(tracking_uri):
        return images_per_second(connect(tracking_uri), trials, on_gpu)


def _show(planned: Plan, over: bool, console: Console) -> None:
    """The plan in a few lines; `over`: its search has nothing left to ask for."""
    title = Text(planned.space, "bold") + Text(f": {planned.description}" if planned.description else "")
    console.print(title, soft_wrap=True)
    for notice in planned.notices:
        console.print(notice, style="yellow", markup=False, highlight=False)
    if planned.cells or not planned.search:  # of cells that are searched the search tells
        shared = len(planned.cells) - len(planned.trials)
        console.print(
            f"{several(len(planned.cells), 'cell')}, {several(len(planned.trials), 'unique trial')} "
            f"({several(shared, 'cell')} share{'s' * (shared == 1)} a trial), "
            f"{len(planned.done)} done before, {len(planned.todo)} to do",
            highlight=False,
        )
    if planned.search:
        console.print(f"search: {planned.search.words}{'; nothing left to do' if over else ''}", highlight=False)
    for stage in planned.stages:
        users = several(stage.serves, "cell" if stage.kind == "dense" else "trial")
        often = "once" if stage.times == 1 else f"{stage.times} times"
        console.print(f"  {often} for {users}: {stage.kind} {stage.name}", style="dim", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
