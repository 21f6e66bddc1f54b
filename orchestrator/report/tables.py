"""Table files: CSV with MLflow's own numbers, unrounded; Markdown and LaTeX as the page shows them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from orchestrator.report.compare_published import published_points
from orchestrator.report.figures import Table, finding_tables
from orchestrator.report.markdown_latex import escape, latex, latex_table, markdown, markdown_table
from orchestrator.report.measured import without_measures
from orchestrator.report.pivots import grids
from orchestrator.report.search_tables import best_settings, compared_pairs, fronts, tried
from orchestrator.report.seed_questions import asked_questions
from orchestrator.results.lines import RowValue, compressions, facets, flattering, line, pruners
from orchestrator.results.results import Results
from trainables.metrics import HISTORIES


def tables(results: Results) -> dict[str, str]:
    """Return the text of each table file, by file name."""
    files = {}
    known = without_measures(results)
    for quantity, shown in grids(known):
        files[f"{quantity.name}.csv"] = _csv(pivot(known, quantity.logged))
        files[f"{quantity.name}.md"] = markdown(quantity.title, shown)
        files[f"{quantity.name}.tex"] = latex(quantity.name, quantity.title, shown)
    if beside_ours := published_table(known):
        heads, *rows = beside_ours
        files["published.csv"] = _csv(beside_ours)
        files["published.md"] = markdown_table(heads, rows) + "\n"
        short = [[escape(row[i]) for i in SHORT] for row in rows]
        files["published.tex"] = latex_table("tab:published", PUBLISHED, [heads[i] for i in SHORT], short) + "\n"
    for name, title, table in finding_tables(results):
        files |= _in_all_forms(name, title, table)
    own = {
        "pairs": compared_pairs,
        "questions": asked_questions,
        "search": tried,
        "best-settings": best_settings,
        "pareto": fronts,
    }
    files |= {f"{name}.csv": _csv(table) for name, make in own.items() if (table := make(results))}
    files["trials.csv"] = _csv(trials(results))
    return files


PUBLISHED = "Test accuracy here and as published, in percent. Recipes differ; see published.csv."
SHORT = (0, 1, 2, 3, 4, 5, 7, 9)  # the columns of the table below that fit on paper


def published_table(results: Results) -> Table:
    """Return our points for which a result is published, in percent, with recipe differences; empty if none."""
    rows = [
        [
            found.facet.dataset,
            found.facet.architecture,
            found.pruner,
            f"{found.point.compression:g}x",
            f"{100 * found.point.mean:.2f}",
            "" if found.point.std is None else f"{100 * found.point.std:.2f}",
            str(len(found.point.values)),
            f"{found.top1:.2f}",
            "" if found.row.std is None or found.how else f"{found.row.std:.2f}",
            f"{found.difference:+.2f}",
            found.row.epoch or "not said",
            found.how or "as given",
            "; ".join(found.recipe) or "none known",
            f"{found.row.source}, {found.row.figure}",
        ]
        for found in published_points(results)
    ]
    heads = ["dataset", "architecture", "pruner", "compression", "ours", "ours std", "ours n", "published",
             "published std", "difference", "epoch", "compression there", "recipe differs in", "source"]  # fmt: skip
    return [heads, *rows] if rows else []


def pivot(results: Results, measure: RowValue) -> Table:
    """Return a row per facet and pruner; per compression the mean over seeds, standard deviation and number of seeds.

    A missing mean is replaced by the reason (`failed`, `running`, `not run`), with n = 0. If early stopping left only
    the best seeds of some point, a column has the number that it stopped: those means are too high.
    """
    columns = compressions(results)
    settings = sorted({key for facet in facets(results) for key, _ in facet.settings})
    parts = ("mean", "std", "n", *(("stopped",) if flattering(results) else ()))
    heads = [f"{c:g}x {part}" for c in columns for part in parts]
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
                    row += [""] * len(parts)
                else:
                    mean = repr(point.mean) if point.values else point.hole or "not logged"
                    stopped = sum(seed.status == "stopped" for seed in point.rows)
                    told = [mean, "" if point.std is None else repr(point.std), str(len(point.values)), str(stopped)]
                    row += told[: len(parts)]
            table.append(row)
    return table


def trials(results: Results) -> Table:
    """Return every cell, with its status, its run and all metrics that were logged once.

    With kappa, a column holds it, and the compression is the one reached; empty if not known.
    """
    said = [row.cell.settings | ({"kappa": f"{row.cell.kappa:g}"} if row.cell.kappa else {}) for row in results.rows]
    settings = sorted({key for cell in said for key in cell})
    # Metrics logged per epoch or layer have histories; their last value alone is misleading.
    names = sorted({name for row in results.rows for name in row.metrics if name not in HISTORIES})
    heads = ["dataset", "architecture", "pruner", "compression", "seed", *settings]
    table = [[*heads, "status", "error", "collapsed", "fingerprint", "run_id", *names]]
    for row, own in zip(results.rows, said, strict=True):
        cell = row.cell
        compression = f"{cell.compression:g}" if cell.compression else ""
        named = [cell.dataset, cell.architecture, cell.pruner, compression, str(cell.seed)]
        named += [f"{own.get(key, '')}" for key in settings]
        came = [row.status, row.error, row.tags.get("collapsed", ""), cell.fingerprint, row.run_id]
        # The metrics of a run that has not finished are not results.
        logged = row.metrics if row.status == "finished" else {}
        table.append([*named, *came, *(repr(logged[name]) if name in logged else "" for name in names)])
    return table


def _in_all_forms(name: str, title: str, table: Table) -> dict[str, str]:
    heads, *rows = table
    escaped = [[escape(cell) for cell in row] for row in table]
    return {
        f"{name}.csv": _csv(table),
        f"{name}.md": f"# {title}\n\n{markdown_table(heads, rows)}\n",
        f"{name}.tex": latex_table(f"tab:{name}", escape(title), escaped[0], escaped[1:]) + "\n",
    }


def _csv(table: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(table)
    return buffer.getvalue()
