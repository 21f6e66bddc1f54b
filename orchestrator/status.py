"""Say how sweeps stand: what runs, what is done, what failed, and how long the rest will take. Writes nothing.

prune-status [EXPERIMENT ...], or python -m orchestrator.status
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.command_line import command_parser


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    examples = ("", "digits", "cifar10-quick --tracking-uri http://head:5000")
    p = command_parser("orchestrator.status", (__doc__ or "").splitlines()[0], examples)
    names = "names of the spaces, or of the experiments if --experiment was given (default: all of the store)"
    p.add_argument("experiment", nargs="*", help=names)
    p.add_argument("--output", type=Path, default=Path("results"), help="the sweep's folder (default: results)")
    p.add_argument("--tracking-uri", help="MLflow store or server (default: SQLite in the output folder)")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 if there is no such store or experiment."""
    given = parser().parse_args(arguments)
    # Imported now: --help need not wait for MLflow.
    from orchestrator import environment
    from orchestrator.results.store import ReportError, sqlite_uri
    from orchestrator.running.sweep_status import experiments_with_sweeps, read_status
    from orchestrator.terminal import say, terminal
    from search_spaces import SpaceError

    environment.prepare_reading()
    try:
        uri = given.tracking_uri or sqlite_uri(given.output.expanduser() / "mlflow.db")
        for experiment in given.experiment or experiments_with_sweeps(uri):
            for line in read_status(uri, experiment).lines:
                say(terminal(), line)
    except (ReportError, SpaceError) as error:
        say(terminal(stderr=True), f"status: {error}", "red")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
