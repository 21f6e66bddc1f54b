"""The report as one HTML file that needs nothing else: no request, no font of its own, a few lines of script."""

from __future__ import annotations

import shlex
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from orchestrator.colors import look
from orchestrator.report import summary_text, tables
from orchestrator.report.compare_published import beside
from orchestrator.report.figures import Drawing, Table, finding_tables
from orchestrator.report.markdown_latex import latex, note
from orchestrator.report.measured import trained
from orchestrator.report.pivots import grids
from orchestrator.report.published_recipes import as_published
from orchestrator.report.recipe import by_pruner, common, dense
from orchestrator.report.search_tables import best_settings, compared, fronts, search_words
from orchestrator.report.summary_text import audit_words
from orchestrator.results.results import Results
from orchestrator.results.row import counts
from orchestrator.results.store import public
from search_spaces import Cell, amount

# Tags that are said elsewhere on the page or that only machines read.
INTERNAL = ("kind", "fingerprint", "config", "space", "collapsed", "error", "stage", "paths", "compaction",
            "audited")  # fmt: skip
FOLDER = Path("results/report")  # where a page goes unless somebody says otherwise
MANY_VALUES = 4  # of a tag: of more only what stands before their colon is told
MANY = 300  # rows of a table that a page shows; all of them are in its CSV


def page(
    results: Results, figures: Sequence[tuple[Drawing, bytes]], tracking_uri: str, folder: Path | None = None
) -> str:
    """The page's HTML, with the figures given as SVG; `folder` is where it goes."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_file("report.html.j2"))
    known = trained(results)
    shown = list(grids(known))
    ordered = sorted(figures, key=lambda figure: _of_search(figure[0]))  # in the order of the page
    pictures = [(number, drawing, b64encode(svg).decode()) for number, (drawing, svg) in enumerate(ordered, 1)]
    return template.render(
        style=_file("report.css"),
        script=_file("report.js"),
        results=results,
        counts=counts(results.rows),
        axes=_axes(results),
        headline=summary_text.short(results),
        answers=summary_text.panels(results),
        care=summary_text.care(results),
        audits=audit_words(results),
        measures=[(title, _compact(table)) for _, title, table in finding_tables(results)],
        figures=[shown for shown in pictures if not _of_search(shown[1])],
        search=search_words(results),
        search_figures=[shown for shown in pictures if _of_search(shown[1])],
        best=_said_once(_compact(best_settings(results))),
        fronts=_said_once(_compact(fronts(results))),
        pairs=_said_once(compared(known)),
        quantities=[(quantity, found, latex(quantity.name, quantity.title, found)) for quantity, found in shown],
        note=note([grid for _, found in shown for grid in found]),
        published=_filled([[*row[:12], *row[13:]] for row in tables.published(known)]),  # the recipes are said above
        recipes=_recipes(known),
        presets=_presets(results),
        trials=_said_once(_ids_last(_compact(tables.trials(results), ids=True))),
        many=MANY,
        amount=amount,
        color=lambda pruner: look(pruner).color,
        recipe=[*common(results.trials.values()), *dense(results)],
        differing=by_pruner(results),
        masks=dict.fromkeys(given for sweep in results.sweeps for given in sweep.plan.get("masks", ())),
        versions=_versions(results),
        planless=sum(not sweep.plan for sweep in results.sweeps),
        commands=[public(command) for command in _commands(results, tracking_uri, folder or FOLDER)],
    )


def _file(name: str) -> str:
    """A part of the page, as it lies beside this file."""
    return resources.files("orchestrator.report").joinpath(name).read_text("utf-8")


def _commands(results: Results, tracking_uri: str, folder: Path) -> list[str]:
    """What makes the results, and what makes this page of them."""
    report = ["python", "-m", "orchestrator.report", *results.experiment.split(" + "), "--tracking-uri", tracking_uri]
    report += ["--where", results.selection] if results.selection else []
    report += ["--output", str(folder)] if folder != FOLDER else []
    sweeps = dict.fromkeys(sweep.tags["command"] for sweep in results.sweeps[::-1] if "command" in sweep.tags)
    return [*(f"python -m orchestrator.sweep {arguments}" for arguments in sweeps), shlex.join(report)]


def _axes(results: Results) -> list[tuple[str, str]]:
    """Every field with more than one value, and its values."""
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
    """With the compression that came of it."""
    return f"{cell.kappa:g} ({cell.compression:g}x)" if cell.compression else f"{cell.kappa:g}"


def _recipes(results: Results) -> list[tuple[str, list[str]]]:
    """Per published source, in what its recipe differs from ours: to be read before the numbers."""
    found: dict[str, dict[str, dict[str, None]]] = {}  # source -> what differs -> for which pruners
    pruners: dict[str, dict[str, None]] = {}
    for one in beside(results):
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
    """Per sweep of a preset, in what it is not as published; newest first, each preset once."""
    newest = {sweep.plan["space"]: sweep for sweep in results.sweeps[::-1] if sweep.plan}
    said = {name: as_published(name, sweep.cells, sweep.trials.values()) for name, sweep in newest.items()}
    return [(name, [line.strip() for line in lines]) for name, lines in said.items() if lines]


def _of_search(drawing: Drawing) -> bool:
    """Whether it stands in the section of the search."""
    return drawing.name.startswith("search-")


def _compact(table: Table, ids: bool = False) -> Table:
    """With four digits and, but for `ids`, without ids: the CSV has them whole."""
    if not table:
        return []
    heads = table[0]
    kept = [i for i, head in enumerate(heads) if head != "error" and (ids or head != "run_id")]
    return [[heads[i] for i in kept], *([_four(row[i]) for i in kept] for row in table[1 : MANY + 1])]


def _ids_last(table: Table) -> Table:
    """With what machines read behind what people do. It stays: a mask is given to other trials by its run's id."""
    order = sorted(range(len(table[0])), key=lambda column: table[0][column] in ("fingerprint", "run_id"))
    return [[row[column] for column in order] for row in table]


def _said_once(table: Table) -> tuple[Table, str]:
    """Without the columns that are equal in all rows, and these in words: a phone is narrow."""
    if len(table) < 3:
        return table, ""
    columns = list(zip(*table, strict=True))
    same = [(head, rest[0]) for head, *rest in columns if len(set(rest)) == 1]
    rest = [list(row) for row in zip(*(column for column in columns if len(set(column[1:])) > 1), strict=True)]
    words = ", ".join(f"{head} = {value}" for head, value in same if value)
    return rest, f"In all rows: {words}." if words else ""


def _filled(table: Table) -> Table:
    """Without the columns in which no row has anything: of one seed there is no spread."""
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
    """Whatever the trials logged of machines and versions: tag -> its values, with counts where they differ."""
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
    """Where there are many, as of how much a compacted network has left, only what stands before their colon."""
    if len(values) <= MANY_VALUES:
        return values
    short: Counter[str] = Counter()
    for value, count in values.items():
        short[value.partition(": ")[0]] += count
    return short
