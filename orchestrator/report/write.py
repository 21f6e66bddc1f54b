"""Write the report of an experiment in MLflow: one page, its figures and its tables."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.report.figures import draw
from orchestrator.report.figures.style import Drawing
from orchestrator.report.measured import without_measures
from orchestrator.report.mlflow_ui.curves import log_curves
from orchestrator.report.mlflow_ui.notes import write_notes
from orchestrator.report.mlflow_ui.view import save_views
from orchestrator.report.page import page
from orchestrator.report.tables import tables
from orchestrator.results.moved_store import follow_moved_store
from orchestrator.results.results import Results, read
from orchestrator.results.store import ReportError, connect, mlflow_errors
from orchestrator.results.where_filter import where

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)
WRITTEN = ".written"  # in the report's folder: digests and names of its files
KINDS = ("svg", "png", "pdf")  # for the page, for notes, for papers


class WrittenReport(NamedTuple):
    """Report on disk: its page, and the results that it shows."""

    page: Path
    results: Results


def write_report(
    tracking_uri: str,
    experiment: str | Sequence[str],
    folder: Path,
    log: bool = True,
    selection: str = "",
    run_id: str = "",
) -> WrittenReport:
    """Write `report.html`, `figures/` and `tables/` into `folder`; with `log`, into MLflow as well.

    Several experiments are read as one, and `selection` keeps the cells for which it holds (see `where`). For a single
    whole experiment, the files and the summary (on the sweep's run `run_id`, else on the newest), the curve runs and
    the saved views are logged. If MLflow refuses one of them, a warning says so and the report remains.

    Raises:
        ReportError: if there is nothing to report on, before anything is written, or no place to write to.
    """
    names = [experiment] if isinstance(experiment, str) else list(experiment)
    client = connect(tracking_uri)
    if log:  # else the report's own files would be logged into the old place
        follow_moved_store(tracking_uri)
    results = read(client, *names)
    if selection:
        results = where(results, selection)
    files = compose(results, tracking_uri, folder=folder)
    try:
        for name in _earlier(folder).keys() - files.keys():  # else figures of an earlier selection remain among these
            (folder / name).unlink(missing_ok=True)
        (folder / WRITTEN).parent.mkdir(parents=True, exist_ok=True)
        (folder / WRITTEN).write_text("\n".join(f"{_digest(files[name])} {name}" for name in files), encoding="utf-8")
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as error:
        raise ReportError(f"output folder '{folder}' cannot be written: {error.strerror}") from error
    if log and len(set(names)) == 1 and not selection:
        _log(client, results, run_id or results.sweeps[0].run_id, folder, list(files))
    return WrittenReport(folder / "report.html", results)


def _earlier(folder: Path) -> dict[str, str]:
    """Return the digests of the previous report's files by name, as it listed them itself; no other files."""
    try:
        lines = (folder / WRITTEN).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    listed = {name: digest for digest, _, name in (line.partition(" ") for line in lines)}
    return {
        name: digest for name, digest in listed.items() if name.startswith(("figures/", "tables/")) and ".." not in name
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _pictures(drawing: Drawing, kinds: Sequence[str], folder: Path | None) -> dict[str, bytes]:
    """Return the figure in `kinds`, the first of which is "svg".

    Equal SVGs mean equal figures, so that the PNG and PDF of the previous report in `folder` are used again if they are
    as they were written. Drawing them takes two thirds of the time of a report.
    """
    earlier = _earlier(folder) if folder else {}
    found = {"svg": drawing.save("svg")}
    same = earlier.get(f"figures/{drawing.name}.svg") == _digest(found["svg"])
    for kind in kinds[1:]:
        name = f"figures/{drawing.name}.{kind}"
        content = _content(folder / name) if same and folder else b""
        found[kind] = content if content and earlier.get(name) == _digest(content) else drawing.save(kind)
    return found


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def compose(
    results: Results, tracking_uri: str, kinds: Sequence[str] = KINDS, folder: Path | None = None
) -> dict[str, bytes]:
    """Return the files by name: the page, the tables, and the figures in `kinds`, of which the first must be "svg".

    `folder` is where they will be written if not in the default folder; the page shows the command for it.
    """
    files: dict[str, bytes] = {}
    figures = []
    for drawing in draw(results):
        pictures = _pictures(drawing, kinds, folder)
        figures.append((drawing, pictures["svg"]))
        files |= {f"figures/{drawing.name}.{kind}": picture for kind, picture in pictures.items()}
    texts = tables(results)
    files |= {f"tables/{name}": text.encode() for name, text in texts.items()}
    csv = {name: text for name, text in texts.items() if name.endswith(".csv")}
    files["report.html"] = page(results, figures, tracking_uri, folder, csv).encode()
    return files


def _log(client: MlflowClient, results: Results, run_id: str, folder: Path, names: Sequence[str]) -> None:
    """Log each part by itself, so that a view that MLflow refuses does not prevent the curves."""
    steps: dict[str, Callable[[], object]] = {
        "files": lambda: _log_files(client, run_id, folder, names),
        "curves": lambda: log_curves(client, without_measures(results)),
        "views": lambda: save_views(client, results),
        "answer": lambda: write_notes(client, results, run_id),
    }
    for what, step in steps.items():
        try:
            step()
        except Exception as error:  # noqa: BLE001 - optional parts: whatever fails, the results are safe
            logger.warning("the report's %s were not logged: %s", what, error)


def _log_files(client: MlflowClient, run_id: str, folder: Path, names: Sequence[str]) -> None:
    with mlflow_errors():
        for name in names:
            client.log_artifact(run_id, str(folder / name), str(Path(name).parent).removeprefix("."))
