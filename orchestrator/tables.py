"""The numbers as CSV: what MLflow has, unrounded, so that anybody can draw another figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from orchestrator.lines import Measure, compressions, facets, line, metric, pruners
from orchestrator.results import Results

Table = list[list[str]]


def tables(results: Results) -> dict[str, str]:
    """File name -> CSV text."""
    return {
        "accuracy.csv": _csv(pivot(results, metric("final/top1"))),
        "macs.csv": _csv(pivot(results, metric("model/macs_kept"))),
        "trials.csv": _csv(trials(results)),
    }


def pivot(results: Results, measure: Measure) -> Table:
    """A row per facet and pruner; per compression the mean over seeds, their standard deviation and their number.

    A mean that does not exist is the word for why (`failed`, `running`, `not run`), with n = 0.
    """
    columns = compressions(results)
    settings = sorted({key for facet in facets(results) for key, _ in facet.settings})
    heads = [f"{c:g}x {part}" for c in columns for part in ("mean", "std", "n")]
    table = [["dataset", "architecture", *settings, "pruner", *heads]]
    for facet in facets(results):
        chosen = dict(facet.settings)
        for pruner in pruners(results):
            points = {point.compression: point for point in line(results, facet, pruner, measure)}
            if not points:
                continue
            row = [facet.dataset, facet.architecture, *(chosen.get(key, "") for key in settings), pruner]
            for compression in columns:
                point = points.get(compression)
                if point is None:  # no sweep asked for this cell
                    row += ["", "", ""]
                else:
                    mean = repr(point.mean) if point.values else point.hole or "not logged"
                    row += [mean, "" if point.std is None else repr(point.std), str(len(point.values))]
            table.append(row)
    return table


def trials(results: Results) -> Table:
    """Every cell, with its status, its run and all metrics that were logged once."""
    settings = sorted({key for row in results.rows for key in row.cell.settings})
    # Per-epoch and per-layer metrics have histories; one number of them says nothing.
    names = sorted({name for row in results.rows for name in row.metrics if not name.startswith(HISTORIES)})
    heads = ["dataset", "architecture", "pruner", "compression", "seed", *settings]
    table = [[*heads, "status", "error", "collapsed", "fingerprint", "run_id", *names]]
    for row in results.rows:
        cell = row.cell
        named = [cell.dataset, cell.architecture, cell.pruner, f"{cell.compression:g}", str(cell.seed)]
        named += [f"{cell.settings.get(key, '')}" for key in settings]
        came = [row.status, row.error, row.tags.get("collapsed", ""), cell.fingerprint, row.run_id]
        # Metrics of a run that has not finished are not results.
        logged = row.metrics if row.status == "finished" else {}
        table.append([*named, *came, *(repr(logged[name]) if name in logged else "" for name in names)])
    return table


HISTORIES = ("train/", "test/", "profile/", "time/epoch_seconds")


def _csv(table: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(table)
    return buffer.getvalue()
