"""The report as one HTML file that needs nothing else: no script, no request, no font of its own."""

from __future__ import annotations

import shlex
from base64 import b64encode
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from orchestrator.answer import care, sentences, standings
from orchestrator.colors import look
from orchestrator.figures import Drawing
from orchestrator.lines import Facet, Measure, Point, compressions, facets, line, metric, pruners, ratio
from orchestrator.results import Results, public
from search_spaces import Trial, amount

# Tags that are said elsewhere on the page or that only machines read.
INTERNAL = ("kind", "fingerprint", "config", "space", "collapsed", "error", "pruner")


@dataclass(frozen=True)
class Entry:
    """A point as a table shows it."""

    text: str
    hole: bool = False
    collapsed: bool = False
    leads: bool = False


@dataclass(frozen=True)
class Grid:
    """A pivot of one facet, ready to be shown."""

    title: str
    heads: list[str]
    rows: list[tuple[str, list[Entry]]]


def page(results: Results, figures: Sequence[tuple[Drawing, bytes]], tracking_uri: str) -> str:
    """The page's HTML, with the figures given as SVG."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files("orchestrator").joinpath("report.html.j2").read_text("utf-8"))
    shown = facets(results)
    return template.render(
        results=results,
        counts=Counter(row.status for row in results.rows),
        axes=_axes(results),
        answers=[(facet.title, sentences(results, facet)) for facet in shown],
        care=care(results),
        figures=[(drawing, b64encode(svg).decode()) for drawing, svg in figures],
        accuracy=[_accuracy(results, facet) for facet in shown],
        macs=[_grid(results, facet, ratio("model/macs_kept", "model/macs")) for facet in shown],
        color=lambda pruner: look(pruner).color,
        amount=amount,
        recipe=_recipe(results.trials),
        versions=_versions(results),
        planless=sum(not sweep.plan for sweep in results.sweeps),
        commands=[public(command) for command in _commands(results, tracking_uri)],
    )


def _commands(results: Results, tracking_uri: str) -> list[str]:
    """What makes the results, and what makes this page of them."""
    report = ["python", "-m", "orchestrator.report", results.experiment, "--tracking-uri", tracking_uri]
    arguments = results.sweeps[0].tags.get("command")
    return [*([f"python -m orchestrator.sweep {arguments}"] if arguments is not None else []), shlex.join(report)]


def _axes(results: Results) -> list[tuple[str, str]]:
    """Every field with more than one value, and its values."""
    cells = [row.cell for row in results.rows]
    named: dict[str, list[Any]] = {
        "dataset": [cell.dataset for cell in cells],
        "architecture": [cell.architecture for cell in cells],
        "pruner": [cell.pruner for cell in cells],
        "compression": sorted(cell.compression for cell in cells if cell.compression),
        "kappa": sorted(cell.kappa for cell in cells if cell.kappa),
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


def _grid(results: Results, facet: Facet, measure: Measure, leaders: Collection[tuple[float, str]] = ()) -> Grid:
    columns = compressions(results, facet)
    rows = []
    for pruner in pruners(results):
        points = {point.compression: point for point in line(results, facet, pruner, measure)}
        if points:
            rows.append((pruner, [_entry(points.get(c), leads=(c, pruner) in leaders) for c in columns]))
    return Grid(facet.title, [f"{c:g}x" for c in columns], rows)


def _accuracy(results: Results, facet: Facet) -> Grid:
    """With the pruners that lead, alone or together, in bold."""
    leaders = {(here.compression, pruner) for here in standings(results, facet) for pruner in here.leaders}
    return _grid(results, facet, metric("final/top1"), leaders)


def _entry(point: Point | None, leads: bool) -> Entry:
    """`93.1 ± 0.2`, the word for a hole, or both where some of the seeds are missing."""
    if point is None:
        return Entry("–")  # no sweep asked for it
    if not point.values:
        return Entry(point.hole or "not logged", hole=True)
    text = f"{100 * point.mean:.1f}" + ("" if point.std is None else f" ± {100 * point.std:.1f}")
    missing = len(point.values) < len(point.rows)
    text += f" ({len(point.values)} of {len(point.rows)} seeds)" if missing else ""
    return Entry(text, missing, point.collapsed > 0, leads)


def _recipe(trials: Mapping[str, Trial]) -> list[tuple[str, str]]:
    """The fields that are equal in all trials."""
    records = [trial.params() for trial in trials.values()]
    return [(key, value) for key, value in records[0].items() if value and all(r.get(key) == value for r in records)]


def _versions(results: Results) -> list[tuple[str, str]]:
    """Whatever the trials logged of machines and versions: tag -> its values, with counts where they differ."""
    found: dict[str, Counter[str]] = {}
    for row in {row.run_id: row for row in results.rows if row.status == "finished"}.values():
        for key, value in row.tags.items():
            if key not in INTERNAL and not key.startswith("mlflow."):
                found.setdefault(key, Counter())[value] += 1
    return [
        (key, next(iter(values)) if len(values) == 1 else ", ".join(f"{v} ({n} runs)" for v, n in values.most_common()))
        for key, values in sorted(found.items())
    ]
