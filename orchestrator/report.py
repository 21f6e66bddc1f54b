"""The report: MLflow in; one page, its figures and its tables out. Also `python -m orchestrator.report`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import environment
from orchestrator.curves import log_curves
from orchestrator.figures import draw
from orchestrator.page import page
from orchestrator.results import ReportError, Results, connect, mlflow_errors, read
from orchestrator.tables import tables
from orchestrator.view import save_view

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)


def write_report(tracking_uri: str, experiment: str, folder: Path, log: bool = True) -> Path:
    """Write `report.html`, `figures/` and `tables/` into `folder`; with `log`, into MLflow as well.

    Logged are the files (to the newest sweep's run), the curve runs and the saved view. Should MLflow refuse
    one of them, a warning says so and the report stands.

    Returns:
        The path of the page.

    Raises:
        ReportError: if there is nothing to report on, before anything is written, or no place to write to.
    """
    client = connect(tracking_uri)
    results = read(client, experiment)
    files: dict[str, bytes] = {}
    figures = []
    for drawing in draw(results):
        svg = drawing.save("svg")
        figures.append((drawing, svg))
        files[f"figures/{drawing.name}.svg"] = svg
        files[f"figures/{drawing.name}.png"] = drawing.save("png")
    files |= {f"tables/{name}": text.encode() for name, text in tables(results).items()}
    files["report.html"] = page(results, figures, tracking_uri).encode()
    try:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as error:
        raise ReportError(f"output folder '{folder}' cannot be written: {error.strerror}") from error
    if log:
        _log(client, results, folder, list(files))
    return folder / "report.html"


def _log(client: MlflowClient, results: Results, folder: Path, names: Sequence[str]) -> None:
    """Each by itself: a view that MLflow refuses does not cost the curves."""
    steps: dict[str, Callable[[], object]] = {
        "files": lambda: _log_files(client, results.sweeps[0].run_id, folder, names),
        "curves": lambda: log_curves(client, results),
        "view": lambda: save_view(client, results.experiment_id),
    }
    for what, step in steps.items():
        try:
            step()
        except ReportError as error:
            logger.warning("the report's %s were not logged: %s", what, error)


def _log_files(client: MlflowClient, run_id: str, folder: Path, names: Sequence[str]) -> None:
    with mlflow_errors():
        for name in names:
            client.log_artifact(run_id, str(folder / name), str(Path(name).parent).removeprefix("."))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0, or 2 if there is nothing to report on or no place to write."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.report", description=__doc__.splitlines()[0])
    parser.add_argument("experiment", help="the name of the space, or of the experiment if it was named")
    parser.add_argument("--tracking-uri", default="sqlite:///results/mlflow.db", help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("results/report"), help="default: %(default)s")
    parser.add_argument("--log", action=argparse.BooleanOptionalAction, default=True,
                        help="log the report to MLflow as well (default: yes)")  # fmt: skip
    given = parser.parse_args(arguments)
    environment.prepare_matplotlib(given.output)
    try:
        print(write_report(given.tracking_uri, given.experiment, given.output, given.log))  # noqa: T201
    except ReportError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
