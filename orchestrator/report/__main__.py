"""Write the report of an experiment in MLflow: one page, its figures and its tables.

prune-report EXPERIMENT [EXPERIMENT ...], or python -m orchestrator.report
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from orchestrator import environment
from orchestrator.command_line import called, open_page
from orchestrator.report.page import FOLDER
from orchestrator.report.terminal_answer import print_answer
from orchestrator.report.write import write_report
from orchestrator.results.store import ReportError


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = argparse.ArgumentParser(prog=called("orchestrator.report"), description=(__doc__ or "").splitlines()[0])
    several = "the space, or the experiment if it was named; several are compared"
    p.add_argument("experiment", nargs="+", help=several)
    only = 'only these cells: "pruner in (snip, synflow) and compression <= 20"'
    p.add_argument("--where", default="", metavar="EXPRESSION", help=only)
    p.add_argument("--open", action="store_true", help="show the page in the browser")
    p.add_argument("--tracking-uri", default="sqlite:///results/mlflow.db", help="default: %(default)s")
    p.add_argument("--output", type=Path, default=FOLDER, help="default: %(default)s")
    log = "log the report of one whole experiment to MLflow as well (default: yes)"
    p.add_argument("--log", action=argparse.BooleanOptionalAction, default=True, help=log)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 if there is nothing to report on or no place to write."""
    given = parser().parse_args(arguments)
    environment.prepare_matplotlib(given.output)
    environment.prepare_reading()
    try:
        written = write_report(given.tracking_uri, given.experiment, given.output, given.log, given.where)
    except ReportError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    print(written.page, flush=True)  # noqa: T201
    print_answer(written.results, Console())
    if given.open and (trouble := open_page(written.page)):
        print(trouble, file=sys.stderr)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
