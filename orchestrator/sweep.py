"""Run the trials of a space and report on them. Run the same command again to continue where it stopped.

prune-sweep [SPACE] [--set field=value ...], or python -m orchestrator.sweep
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.command_line import command_parser

EXAMPLES = (
    "digits",
    "my-space.yaml --dry-run",
    "cifar10-quick --set 'pruner=[snip, synflow]' --set 'compression=[10, 100]' --set 'seed=[0, 1, 2]'",
    "cifar10-quick --address auto --storage /shared/results --gpus-per-trial 0.5",
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = command_parser("orchestrator.sweep", (__doc__ or "").split("\n")[0], EXAMPLES)
    p.add_argument("space", nargs="?", default="digits", help="a preset's name or a YAML file (default: digits)")
    override = "override a field of the space; VALUE in YAML, for example compression=[1,10,100]"
    p.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="overrides", help=override)
    p.add_argument("--force", action="store_true", help="run pruners also on networks where their scores mean nothing")
    p.add_argument("--pack", nargs="?", const="", help=argparse.SUPPRESS)  # removed: the error names its replacement
    look = p.add_argument_group("look first")
    listing = "show presets, pruners, architectures, datasets, measures; run nothing"
    look.add_argument("--list", action="store_true", help=listing)
    look.add_argument("--dry-run", action="store_true", help="show the plan and what it will cost; run nothing")
    _add_places(p)
    _add_machines(p)
    end = p.add_argument_group("end")
    budget = "stop after this time (2h30m, 1d, 90s); the same command continues later"
    end.add_argument("--time-budget", metavar="TIME", help=budget)
    audit = "number of its trials that the sweep recomputes in plain PyTorch at its end; 0: none (default: %(default)s)"
    end.add_argument("--audit", type=int, default=2, metavar="N", help=audit)
    latency = "alone: measure latencies again after the trials, each on a whole GPU or node (default: during trials)"
    end.add_argument("--latency", choices=("alone",), help=latency)
    end.add_argument("--open", action="store_true", help="show the report in the browser at the end")
    return p


def _add_places(p: argparse.ArgumentParser) -> None:
    places = p.add_argument_group("where results and data are")
    places.add_argument("--output", type=Path, default=Path("results"), help="folder for all output (default: results)")
    places.add_argument("--experiment", help="MLflow experiment (default: the space's name)")
    places.add_argument("--tracking-uri", help="MLflow store or server (default: SQLite in the output folder)")
    storage = "where trials keep checkpoints and results: a path, s3://… or gs://… (default: in the output folder)"
    places.add_argument("--storage", metavar="URI", default="", help=storage)
    cadence = "how often a trial saves a checkpoint, also within long epochs (default: 60s)"
    places.add_argument("--checkpoint-every", metavar="TIME", default="60s", help=cadence)
    on_disk = "folder with datasets that are on disk already; it is only read"
    places.add_argument("--data-root", type=Path, help=on_disk)


def _add_machines(p: argparse.ArgumentParser) -> None:
    machines = p.add_argument_group("what trials run on")
    address = "a running Ray cluster: auto or HOST:PORT; all its nodes must share --storage (default: start Ray here)"
    machines.add_argument("--address", help=address)
    local = "run one trial after the other in this process, without Ray"
    machines.add_argument("--local", action="store_true", help=local)
    cpus = "CPUs of a trial, or of each of its workers (default: 1)"
    machines.add_argument("--cpus-per-trial", type=float, default=1, metavar="N", help=cpus)
    packing = "a fraction packs several trials on a GPU; auto: as many as fit (default: 0.25 if there is a GPU, else 0)"
    packing += "; a whole number above 1: that many workers with one GPU each"
    machines.add_argument("--gpus-per-trial", metavar="N", help=packing)
    workers = "processes that train each trial together, each on a part of every batch (default: 1)"
    machines.add_argument("--workers-per-trial", type=int, metavar="N", help=workers)
    most = "trials at once (default: as many as fit)"
    machines.add_argument("--max-concurrent", type=int, metavar="N", help=most)
    scoring = "images per forward pass while scoring, if that changes no score (default: as many as memory holds)"
    machines.add_argument("--scoring-images", type=int, default=0, metavar="N", help=scoring)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 all done, 1 some failed, 2 refused, 130 interrupted."""
    args = parser().parse_args(arguments)
    # Imported now, because PyTorch takes seconds, for which --help and a mistyped option need not wait.
    from orchestrator.terminal import say, terminal

    console = terminal()
    if args.list:
        from orchestrator.planning.catalog import show_catalog

        show_catalog(console)
        return 0
    from orchestrator.running.execute import INTERRUPTED, REFUSED
    from orchestrator.running.prepare import REFUSALS, read_request, sweep

    try:
        request = read_request(args, shlex.join(arguments if arguments is not None else sys.argv[1:]))
        return sweep(request, args.space, args.overrides, console)
    except REFUSALS as error:
        say(terminal(stderr=True), f"sweep: {error}", "red")
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
