"""Write the report of an experiment in MLflow: one page, its figures and its tables.

prune-report EXPERIMENT [EXPERIMENT ...], or python -m orchestrator.report
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.command_line import REPORT_FOLDER, command_parser, open_page

PAPER_FOLDER = Path("results/paper")  # where a paper kit is written by default
EXAMPLES = (
    "digits",
    "digits mnist-quick --output comparison",
    "digits --paper",
    "cifar10-quick --where 'pruner in (snip, synflow) and compression <= 20'",
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = command_parser("orchestrator.report", (__doc__ or "").splitlines()[0], EXAMPLES)
    several = "name of the space, or of the experiment if --experiment was given; several are compared"
    p.add_argument("experiment", nargs="+", help=several)
    only = 'only these cells: "pruner in (snip, synflow) and compression <= 20"'
    p.add_argument("--where", default="", metavar="EXPRESSION", help=only)
    p.add_argument("--open", action="store_true", help="show the page in the browser")
    p.add_argument("--tracking-uri", default="sqlite:///results/mlflow.db", help="default: %(default)s")
    kit = "write what a paper needs instead: table, figure, recipe, BibTeX, fingerprints, a script that runs it again"
    p.add_argument("--paper", action="store_true", help=kit)
    p.add_argument("--output", type=Path, help=f"default: {REPORT_FOLDER}, with --paper {PAPER_FOLDER}")
    log = "log the report to MLflow too, if it is of one whole experiment (default: yes)"
    p.add_argument("--log", action=argparse.BooleanOptionalAction, default=True, help=log)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 if there is nothing to report on or no place to write."""
    given = parser().parse_args(arguments)
    # Imported now: --help need not wait for MLflow and matplotlib, which read the environment as they are imported.
    from orchestrator import environment

    output = given.output or (PAPER_FOLDER if given.paper else REPORT_FOLDER)
    environment.prepare_matplotlib(output)
    environment.prepare_reading()
    from orchestrator.report.paper.kit import write_paper
    from orchestrator.report.terminal_answer import print_answer
    from orchestrator.report.write import write_report
    from orchestrator.results.store import ReportError
    from orchestrator.terminal import say, terminal

    try:
        if given.paper:
            written = write_paper(given.tracking_uri, given.experiment, output, given.where)
        else:
            written = write_report(given.tracking_uri, given.experiment, output, given.log, given.where)
    except ReportError as error:
        say(terminal(stderr=True), str(error))
        return 2
    say(terminal(), str(written.page))
    print_answer(written.results, terminal())
    if given.open and (trouble := open_page(written.page)):
        say(terminal(stderr=True), trouble)
    return 0


if __name__ == "__main__":
    sys.exit(main())
