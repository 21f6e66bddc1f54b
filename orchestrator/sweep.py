"""Run the trials of a space and report on them. Run the same command again to continue where it stopped.

prune-sweep [SPACE] [--set field=value ...], or python -m orchestrator.sweep
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from orchestrator.command_line import called
from orchestrator.live.interrupt import length
from orchestrator.live.terminal import terminal
from orchestrator.planning.catalog import show_catalog
from orchestrator.planning.check_networks import dense_shares
from orchestrator.planning.epoch_times import kind, several, shape, trial_seconds
from orchestrator.planning.estimate import estimate
from orchestrator.planning.estimate import show as show_cost
from orchestrator.planning.plan import Plan, plan
from orchestrator.report.published_recipes import as_published
from orchestrator.results.store import ReportError, public, require_answer, require_name
from orchestrator.running.execute import DONE, INTERRUPTED, REFUSED, execute
from orchestrator.running.job import Job
from orchestrator.running.resource_flags import asked, room_for
from orchestrator.tracking.experiment import existing
from orchestrator.tracking.measured_speeds import images_per_second, of_one_worker
from pruners import PruningError
from search_spaces import SpaceError, load
from trainables.datasets import DatasetError
from trainables.gpu.check import unused_accelerator
from trainables.record.object_store import Bucket, is_object_store
from trainables.training.precision import on_cpu

# Printed in one line. Any other error is a bug of ours and is printed with its traceback.
REFUSALS = (SpaceError, PruningError, DatasetError, ReportError)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = argparse.ArgumentParser(prog=called("orchestrator.sweep"), description=(__doc__ or "").split("\n")[0])
    p.add_argument("space", nargs="?", default="digits", help="a preset's name or a YAML file (default: digits)")
    override = "override a field of the space; VALUE in YAML, for example compression=[1,10,100]"
    p.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="overrides", help=override)
    p.add_argument(
        "--list", action="store_true", help="show presets, pruners, architectures, datasets, measures; run nothing"
    )
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
    p.add_argument("--pack", nargs="?", const="", help=argparse.SUPPRESS)  # removed: the error names its replacement
    cpus = "CPUs of a trial, or of each of its workers (default: 1)"
    p.add_argument("--cpus-per-trial", type=float, default=1, metavar="N", help=cpus)
    packing = "a fraction packs several trials on a GPU; auto: as many as fit (default: 0.25 if there is a GPU, else 0)"
    packing += "; a whole number above 1 is as many workers with a GPU each"
    p.add_argument("--gpus-per-trial", metavar="N", help=packing)
    scoring = "inputs of a forward pass while scoring, where that changes no score (default: as many as memory holds)"
    p.add_argument("--scoring-images", type=int, default=0, metavar="N", help=scoring)
    workers = "processes that train each trial together, on parts of its batches: same numbers, sooner (default: 1)"
    p.add_argument("--workers-per-trial", type=int, metavar="N", help=workers)
    audit = "how many of its trials the sweep recomputes in plain PyTorch at its end; 0: none (default: %(default)s)"
    p.add_argument("--audit", type=int, default=2, metavar="N", help=audit)
    budget = "stop after so long (2h30m, 1d, 90s); the same command goes on later"
    p.add_argument("--time-budget", metavar="TIME", help=budget)
    p.add_argument("--max-concurrent", type=int, metavar="N", help="trials at once (default: as many as fit)")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 all done, 1 some failed, 2 refused, 130 interrupted."""
    args = parser().parse_args(arguments)
    console = terminal()
    if args.list:
        show_catalog(console)
        return DONE
    try:
        return _sweep(args, console, shlex.join(arguments if arguments is not None else sys.argv[1:]))
    except REFUSALS as error:
        terminal(stderr=True).print(f"sweep: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED


def _sweep(args: argparse.Namespace, console: Console, command: str) -> int:
    output: Path = args.output
    tracking_uri = args.tracking_uri or f"sqlite:///{(output / 'mlflow.db').resolve()}"
    save_seconds = length(args.checkpoint_every, "--checkpoint-every")
    storage: str = args.storage
    if is_object_store(storage):
        Bucket(storage)  # rejects what can be detected without writing
    budget = length(args.time_budget) if args.time_budget is not None else None
    space = load(args.space, args.overrides)
    if args.gpus_per_trial is None and space.gpus_per_trial is not None:
        args.gpus_per_trial = str(space.gpus_per_trial)
    if args.workers_per_trial is None:
        args.workers_per_trial = space.workers_per_trial
    _require_counts(args)
    resources = asked(args)
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
    nodes: list[dict[str, float]] = []
    told = ""
    if planned.started or planned.search:
        nodes, resources, told = room_for(args, resources, tracking_uri)
    measured, machines = known.epoch_seconds(on_gpu=bool(resources.gpus)) if known else ({}, set())
    speeds, others = images_per_second(tracking_uri, [t for t in todo if kind(t) not in measured], bool(resources.gpus))
    # Assumes that workers communicate for free: the cost is known only where as many workers ran trials before.
    seconds = {key: spent / resources.workers for key, spent in trial_seconds(todo, measured, speeds).items()}
    if todo:
        console.print(f"each trial gets {resources}", highlight=False)
        if told:
            console.print(told, markup=False, highlight=False, soft_wrap=True)
        if not resources.gpus and args.gpus_per_trial is None and (unused := unused_accelerator()):
            console.print(unused, style="yellow", markup=False, highlight=False, soft_wrap=True)
        if not resources.gpus and any(trial.precision == "bfloat16" for trial in todo):
            console.print(on_cpu(), style="yellow", markup=False, highlight=False, soft_wrap=True)
        if not resources.gpus and any(trial.precision == "tf32" for trial in todo):
            console.print("precision: tf32 is for NVIDIA GPUs; on CPUs these trials train in float32", style="yellow")
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
        audit=args.audit,
        budget=budget,
        storage=storage,
        save_seconds=save_seconds,
        scoring_images=args.scoring_images,
        alone=of_one_worker(tracking_uri, todo) if resources.workers > 1 else {},
    )
    return execute(job, console)


def _require_counts(args: argparse.Namespace) -> None:
    """Reject counts below zero."""
    if args.scoring_images < 0:
        raise PruningError(f"--scoring-images is {args.scoring_images}; it must be at least 0, which is whole batches")
    if args.audit < 0:
        raise SpaceError(f"--audit is {args.audit}; it must be at least 0, which is no audit")


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
    for line in dense_shares((*planned.trials, *planned.examples)):
        console.print(f"  {line}", style="dim", markup=False, highlight=False, soft_wrap=True)
    for stage in planned.stages if planned.todo or (planned.search and not over) else ():
        users = several(stage.serves, "cell" if stage.kind == "dense" else "trial")
        often = "once" if stage.times == 1 else f"{stage.times} times"
        console.print(f"  {often} for {users}: {stage.kind} {stage.name}", style="dim", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
