"""Read the results of an experiment into a pandas DataFrame, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from warnings import warn

from orchestrator.results.own_runs import foreign_words
from orchestrator.results.results import Results, read
from orchestrator.results.row import STATUSES
from orchestrator.results.store import connect
from orchestrator.results.where_filter import where
from search_spaces.density import density_of
from trainables.metrics import HISTORIES

if TYPE_CHECKING:
    import pandas

STORE = "sqlite:///results/mlflow.db"
WORDS = ("dataset", "architecture", "pruner")


def load_results(experiment: str | Sequence[str], tracking_uri: str = STORE, selection: str = "") -> pandas.DataFrame:
    """Return the results of an experiment, or of several, as a DataFrame with one row per cell of the grid.

    Columns: `dataset`, `architecture`, `pruner` (categories); `compression` and `density` (float, NaN where they depend
    on a trial that has not run); `seed` (int); a column per setting that the cells vary (numbers where all values are
    numbers); `status` (category: finished, running, failed, interrupted, stopped, not run); `error`; `collapsed`
    (nullable bool); `fingerprint`; `run_id`; and a float column per metric that is logged once, as MLflow has it
    (`final/top1` is a fraction). Metrics of a run that has not finished are NaN. `selection` is an expression as for
    `--where`.

    Raises:
        ReportError: in one line, if the store or the experiment cannot be read, or nothing has finished.
    """
    names = [experiment] if isinstance(experiment, str) else list(experiment)
    results = read(connect(tracking_uri), *names)
    if notice := foreign_words(results.foreign):
        warn(notice, stacklevel=2)
    return frame(where(results, selection) if selection else results)


def frame(results: Results) -> pandas.DataFrame:
    """Return `results` as a DataFrame; see `load_results`."""
    import pandas as pd

    said = [row.cell.settings | ({"kappa": row.cell.kappa} if row.cell.kappa else {}) for row in results.rows]
    settings = sorted({key for cell in said for key in cell})
    metrics = sorted({name for row in results.rows for name in row.metrics if name not in HISTORIES})
    records: list[dict[str, Any]] = []
    for row, own in zip(results.rows, said, strict=True):
        cell, finished = row.cell, row.status == "finished"
        compression = cell.compression or float("nan")
        record: dict[str, Any] = {
            "dataset": cell.dataset,
            "architecture": cell.architecture,
            "pruner": cell.pruner,
            "compression": compression,
            "density": float(density_of(cell.compression)) if cell.compression else compression,
            "seed": cell.seed,
        }
        record |= {key: own.get(key) for key in settings}
        record |= {"status": row.status, "error": row.error, "collapsed": row.collapsed if finished else None}
        record |= {"fingerprint": cell.fingerprint, "run_id": row.run_id}
        records.append(record | {name: row.metrics.get(name) if finished else None for name in metrics})
    table = pd.DataFrame.from_records(records)
    types = {"compression": "float64", "density": "float64", "seed": "int64", "collapsed": "boolean"}
    types |= dict.fromkeys(WORDS, "category") | dict.fromkeys(metrics, "float64")
    table = table.astype(types)
    table["status"] = pd.Categorical(table["status"], categories=STATUSES)
    for key in settings:
        numbers = pd.to_numeric(table[key], errors="coerce")
        if numbers.notna().equals(table[key].notna()):
            table[key] = numbers
    return table
