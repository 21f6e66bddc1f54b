"""Recompute what finished trials logged, in plain PyTorch, and say what differs.

prune-audit EXPERIMENT [--trials N|all], or python -m orchestrator.audit
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.command_line import command_parser


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = command_parser("orchestrator.audit", (__doc__ or "").splitlines()[0], ("digits", "cifar10-quick --trials 5"))
    p.add_argument("experiment", help="name of the space, or of the experiment if --experiment was given")
    trials = "number of runs, the same ones each time, or all (default: all)"
    p.add_argument("--trials", default="all", metavar="N|all", help=trials)
    p.add_argument("--output", type=Path, default=Path("results"), help="the sweep's folder (default: results)")
    p.add_argument("--tracking-uri", help="MLflow store or server (default: SQLite in the output folder)")
    p.add_argument("--data-root", type=Path, help="folder with datasets that are on disk already; it is only read")
    p.add_argument("--device", default="cpu", help="where networks are tested: cpu or cuda (default: cpu)")
    code = "also run code of architectures that is only in the store; code in files on this machine is always run"
    p.add_argument("--run-code", action="store_true", help=code)
    log = "log the audit's metrics and tag to each run (default: yes)"
    p.add_argument("--log", action=argparse.BooleanOptionalAction, default=True, help=log)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if everything audited agrees, 1 if something differs, 2 if nothing could be audited."""
    given = parser().parse_args(arguments)
    # Imported now: --help need not wait for PyTorch.
    from orchestrator import environment
    from orchestrator.audit.audit_experiment import REFUSED, audit_experiment
    from orchestrator.results.store import ReportError
    from orchestrator.terminal import say, terminal
    from search_spaces import SpaceError

    environment.prepare_reading()
    try:
        return audit_experiment(given, terminal())
    except (ReportError, SpaceError) as error:
        say(terminal(stderr=True), f"audit: {error}")
        return REFUSED


if __name__ == "__main__":
    sys.exit(main())
