"""Report as one self-contained HTML file: it makes no request, and has its charts' script and data in it."""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from orchestrator.colors import look
from orchestrator.command_line import REPORT_FOLDER
from orchestrator.report import summary_text, tables
from orchestrator.report.compare_published import published_points
from orchestrator.report.explore.chart_data import chart_data
from orchestrator.report.explore.library import chart_library, compressed
from orchestrator.report.figures import Drawing, Table, finding_tables
from orchestrator.report.figures.style import file_name
from orchestrator.report.markdown_latex import latex, note
from orchestrator.report.measured import without_measures
from orchestrator.report.mlflow_ui.view import run_link
from orchestrator.report.open_questions import what_would_decide
from orchestrator.report.pivots import grids
from orchestrator.report.published_recipes import as_published
from orchestrator.report.recipe import common, fields_by_pruner, never_pruned_shares
from orchestrator.report.search_tables import best_settings, compared_pairs, fronts, search_words
from orchestrator.report.seed_questions import asked_questions
from orchestrator.report.summary_text import audit_words
from orchestrator.results.lines import facets
from orchestrator.results.own_runs import foreign_words
from orchestrator.results.results import Results
from orchestrator.results.row import counts
from orchestrator.results.store import public
from search_spaces import Cell, amount

# Tags that the page shows elsewhere, or that only machines read.
INTERNAL = ("kind", "fingerprint", "config", "space", "collapsed", "error", "stage", "paths", "compaction",
            "audited")  # fmt: skip
MANY_VALUES = 4  # most values of a tag; with more, only their text before the colon is shown
MANY = 300  # most rows of a table on the page; its CSV has all of them
BY_LAYER = ("density", "layer-macs", "training")  # figures of one facet that have charts
SCRIPTS = ("report.js", "explore/explore.js", "explore/pair.js", "explore/microscope.js")


def page(
    results: Results,
    figures: Sequence[tuple[Drawing, bytes]],
    tracking_uri: str,
    folder: Path | None = None,
    csv: Mapping[str, str] | None = None,
) -> str:
    """Return the page's HTML; figures are given as SVG, `csv` by file name; `folder` is where it will be written."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_file("report.html.j2"))
    known = without_measures(results)
    shown = list(grids(known))
    ordered = sorted(figures, key=lambda figure: _of_search(figure[0]))  # in the order of the page
    pictures = [(number, drawing) for number, (drawing, _) in enumerate(ordered, 1)]
    first = (
        b64encode(_shorter(ordered[0][1]).encode()).decode() if ordered else ""
    )  # also seen where no script runs, as in previews
    packed = {drawing.name: _shorter(svg) for drawing, svg in ordered[1:]}
    charted = {file_name(kind, facet.title): (kind, number) for kind in BY_LAYER
               for number, facet in enumerate(facets(known))}  # fmt: skip
    charts = chart_data(known, run_link(public(tracking_uri), results.experiment_id))
    return template.render(
        style=_file("report.css"),
        script="\n".join(_file(name) for name in SCRIPTS) + "\nstart();\n",
        library=chart_library() if charts["points"] else "",
        data=_packed(charts),
        pictures=_packed(packed),
        csv=_packed(csv or {}),
        first=first,
        charted=charted,
        run_link=run_link(public(tracking_uri), results.experiment_id),
        measured=_measured(results),
        results=results,
        counts=counts(results.rows),
        axes=_axes(results),
        headline=summary_text.short_summary(results),
        answers=summary_text.panel_sentences(results),
        care=summary_text.overall_trust(results),
        deciding=what_would_decide(known),
        audits=audit_words(results),
        measures=[(title, _compact(table)) for _, title, table in finding_tables(results)],
        index=pictures,
        figures=[shown for shown in pictures if not _of_search(shown[1])],
        search=search_words(results),
        search_figures=[shown for shown in pictures if _of_search(shown[1])],
        best=_said_once(_compact(best_settings(results))),
        fronts=_said_once(_compact(fronts(results))),
        pairs=_said_once(compared_pairs(known)),
        questions=_said_once(asked_questions(known)),
        quantities=[(quantity, found, latex(quantity.name, quantity.title, found)) for quantity, found in shown],
        note=note([grid for _, found in shown for grid in found]),
        published=_filled([[*row[:12], *row[13:]] for row in tables.published_table(known)]),  # recipes are shown above
        recipes=_recipes(known),
        presets=_presets(results),
        trials=_said_once(_ids_last(_compact(tables.trials(results), ids=True))),
        many=MANY,
        amount=amount,
        color=lambda pruner: look(pruner).color,
        recipe=[*common(results.trials.values()), *never_pruned_shares(results)],
        differing=fields_by_pruner(results),
        masks=dict.fromkeys(given for sweep in results.sweeps for given in sweep.plan.get("masks", ())),
        versions=_versions(results),
        foreign=foreign_words(results.foreign),
        planless=sum(not sweep.plan for sweep in results.sweeps),
        commands=[public(command) for command in _commands(results, tracking_uri, folder or REPORT_FOLDER)],
    )


def _packed(content: Any) -> str:
    return compressed(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())


def _shorter(svg: bytes) -> str:
    """Return an SVG with coordinates in hundredths of a point: matplotlib writes millionths, a seventh of the page."""
    return re.sub(r'\b[dxy]="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg.decode())


def _measured(results: Results) -> str:
    """Return when the sweeps ran, how long their trials computed, and on which machines."""
    said = []
    starts = [sweep.started for sweep in results.sweeps if sweep.started]
    ends = [max(sweep.started, sweep.ended) for sweep in results.sweeps if sweep.started]
    if starts:
        first, last = (datetime.fromtimestamp(time / 1000, UTC) for time in (min(starts), max(ends)))
        days = [f"{day:%d %B %Y}".lstrip("0") for day in (first, last)]
        said.append(" to ".join(dict.fromkeys(days)))
    rows = {row.run_id: row for row in (*results.rows, *results.tried) if row.status == "finished"}.values()
    if seconds := sum(row.metrics.get("time/total_seconds", 0) for row in rows):
        said.append(
            f"{seconds / 3600:.1f} h of computing" if seconds > 3600 else f"{seconds / 60:.0f} min of computing"
        )
    machines = Counter(row.tags["machine"] for row in rows if "machine" in row.tags)
    if machines:
        said.append("on " + ", ".join(f"{name} ({count} trials)" for name, count in machines.most_common()))
    return "; ".join(said)


def _file(name: str) -> str:
    """Return the text of a file of the page, from this folder."""
    return resources.files("orchestrator.report").joinpath(name).read_text("utf-8")


def _commands(results: Results, tracking_uri: str, folder: Path) -> list[str]:
    """Return the commands that make the results and this page."""
    report = ["python", "-m", "orchestrator.report", *results.experiment.split(" + "), "--tracking-uri", tracking_uri]
    report += ["--where", results.selection] if results.selection else []
    report += ["--output", str(folder)] if folder != REPORT_FOLDER else []
    sweeps = dict.fromkeys(sweep.tags["command"] for sweep in results.sweeps[::-1] if "command" in sweep.tags)
    return [*(f"python -m orchestrator.sweep {arguments}" for arguments in sweeps), shlex.join(report)]


def _axes(results: Results) -> list[tuple[str, str]]:
    """Return every field with more than one value, and its values."""
    cells = [row.cell for row in results.rows]
    named: dict[str, list[Any]] = {
        "dataset": [cell.dataset for cell in cells],
        "architecture": [cell.architecture for cell in cells],
        "pruner": [cell.pruner for cell in cells],
        "compression": sorted(cell.compression for cell in cells if cell.compression),
        "kappa": [_kappa(cell) for cell in sorted(cells, key=lambda cell: cell.kappa) if cell.kappa],
        "seed": sorted(cell.seed for cell in cells),
    }
    for key in dict.fromkeys(key for cell in cells for key in cell.settings):
        named[key] = [cell.settings[key] for cell in cells if key in cell.settings]
    unique = {key: list(dict.fromkeys(values)) for key, values in named.items()}
    return [
        (key, ", ".join(f"{value:g}x" if key == "compression" else f"{value}" for value in values))
        for key, values in unique.items()
        if len(values) > 1
    ]


def _kappa(cell: Cell) -> str:
    """Return kappa with the compression that it reached, if known."""
    return f"{cell.kappa:g} ({cell.compression:g}x)" if cell.compression else f"{cell.kappa:g}"


def _recipes(results: Results) -> list[tuple[str, list[str]]]:
    """Return, for each published source, how its recipe differs from ours; readers need this before the numbers."""
    found: dict[str, dict[str, dict[str, None]]] = {}  # source -> difference -> pruners
    pruners: dict[str, dict[str, None]] = {}
    for one in published_points(results):
        source = one.row.title
        pruners.setdefault(source, {})[one.pruner] = None
        for text in one.recipe:
            found.setdefault(source, {}).setdefault(text, {})[one.pruner] = None
    return [
        (source, [text if len(some) == len(all_) else f"{text} ({', '.join(some)})"
                  for text, some in found.get(source, {}).items()])
        for source, all_ in pruners.items()
    ]  # fmt: skip


def _presets(results: Results) -> list[tuple[str, list[str]]]:
    """Return, for each preset among the sweeps, how its newest sweep differs from the published recipe.

    Each preset occurs once, in the order of its first sweep.
    """
    newest = {sweep.plan["space"]: sweep for sweep in results.sweeps[::-1] if sweep.plan}
    said = {name: as_published(name, sweep.cells, sweep.trials.values()) for name, sweep in newest.items()}
    return [(name, [line.strip() for line in lines]) for name, lines in said.items() if lines]


def _of_search(drawing: Drawing) -> bool:
    """Return True if the figure belongs to the section on the search."""
    return drawing.name.startswith("search-")


def _compact(table: Table, ids: bool = False) -> Table:
    """Return the table with four digits and, unless `ids`, without run ids; the CSV has everything in full."""
    if not table:
        return []
    heads = table[0]
    kept = [i for i, head in enumerate(heads) if head != "error" and (ids or head != "run_id")]
    return [[heads[i] for i in kept], *([_four(row[i]) for i in kept] for row in table[1 : MANY + 1])]


def _ids_last(table: Table) -> Table:
    """Return the table with the columns of ids last. They stay, because other trials name a mask by its run id."""
    order = sorted(range(len(table[0])), key=lambda column: table[0][column] in ("fingerprint", "run_id"))
    return [[row[column] for column in order] for row in table]


def _said_once(table: Table) -> tuple[Table, str]:
    """Return the table without columns that are equal in all rows, and these as text, because phones are narrow."""
    if len(table) < 3:
        return table, ""
    columns = list(zip(*table, strict=True))
    same = [(head, rest[0]) for head, *rest in columns if len(set(rest)) == 1]
    rest = [list(row) for row in zip(*(column for column in columns if len(set(column[1:])) > 1), strict=True)]
    words = ", ".join(f"{head} = {value}" for head, value in same if value)
    return rest, f"In all rows: {words}." if words else ""


def _filled(table: Table) -> Table:
    """Return the table without columns that are empty in all rows: one seed has no spread."""
    kept = [i for i, values in enumerate(zip(*table[1:], strict=True)) if any(values)]
    return [[row[i] for i in kept] for row in table]


def _four(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return text
    if text.isdigit():
        return text
    return f"{number:.0f}" if 1e4 <= abs(number) < 1e7 else f"{number:.4g}"


def _versions(results: Results) -> list[tuple[str, str]]:
    """Return the tags on machines and versions, with counts where a tag has several values."""
    found: dict[str, Counter[str]] = {}
    for row in {row.run_id: row for row in results.rows if row.status == "finished"}.values():
        for key, value in row.tags.items():
            if key not in INTERNAL and not key.startswith("mlflow."):
                found.setdefault(key, Counter())[value] += 1
    found = {key: _in_short(values) for key, values in found.items()}

    def said(values: Counter[str]) -> str:
        return ", ".join(f"{v} ({n} run{'s' * (n != 1)})" if len(values) > 1 else v for v, n in values.most_common())

    return [(key, said(values)) for key, values in sorted(found.items())]


def _in_short(values: Counter[str]) -> Counter[str]:
    """Return the values cut at their colon if they are many, such as those of how much a compacted network has left."""
    if len(values) <= MANY_VALUES:
        return values
    short: Counter[str] = Counter()
    for value, count in values.items():
        short[value.partition(": ")[0]] += count
    return short
