"""Numbers behind the charts of the page: the same points, layers and curves that the figures draw, as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path

from orchestrator.colors import Dash, look
from orchestrator.report.explore.mask_overlap import read_masks
from orchestrator.report.figures.accuracy import classes_of, top1
from orchestrator.report.figures.against_compression import MACS_KEPT, PARAMS_KEPT
from orchestrator.report.figures.against_cost import TRAINING_COST
from orchestrator.report.figures.finding import layer_name
from orchestrator.report.figures.layers import column, first_seed
from orchestrator.report.figures.learning_curves import accuracy_per_epoch
from orchestrator.report.figures.style import evenly_spaced
from orchestrator.report.verdicts import PanelVerdicts, panel_verdicts
from orchestrator.results.lines import (
    CurvePoint,
    Facet,
    RowValue,
    dense,
    facets,
    index_results,
    line,
    metric_reader,
    pruned,
    pruners,
    rows_at,
)
from orchestrator.results.results import Results
from orchestrator.results.row import counts

QUANTITIES: dict[str, RowValue] = {
    "accuracy": top1,
    "macs": MACS_KEPT,
    "params": PARAMS_KEPT,
    "speedup": metric_reader("model/speedup"),
    "training": TRAINING_COST,
}
LAYERS = {"density": ("density", 100.0), "layer-macs": ("macs_kept", 1.0)}  # by figure: column of layers.json, scale
EPOCHS = 60  # most points of a learning curve
RUNS = 1000  # most runs whose curves are read for all compressions; above, those of the figures
DASHES: dict[Dash, list[float]] = {"-": [], "--": [5, 2.5], "-.": [6, 2, 1.5, 2], ":": [1.5, 2]}


def chart_data(results: Results, server: str) -> dict[str, Any]:
    """Return everything that the page's charts show; `server` is the address of MLflow for links to runs."""
    shown = facets(results)
    names = pruners(results)
    points = list(_points(results, shown, names))
    known = {run for point in points for run in point["runs"]}
    curves = list(_curves(results, shown, names, every=len(known) <= RUNS))
    return {
        "server": server,
        "pruners": [{"name": name, **_look(name)} for name in names],
        "facets": [_facet(results, facet) for facet in shown],
        "points": points,
        "layers": list(_layers(results, shown, names)),
        "curves": curves,
        "masks": read_masks(results),
    }


def _look(name: str) -> dict[str, Any]:
    """Return a pruner's look in the words of the chart library."""
    style = look(name)
    dash = DASHES[style.dash] if isinstance(style.dash, str) else list(style.dash[1])
    return {"color": style.color, "dash": dash, "shape": marker_path(style.marker)}


def marker_path(marker: str | tuple[int, int, int]) -> str:
    """Return matplotlib's marker as an SVG path within -1 and 1."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    size = float(np.abs(np.asarray(path.vertices)).max()) or 1.0
    words = []
    letters = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}
    for vertices, code in path.iter_segments():
        if code == Path.CLOSEPOLY:
            words.append("Z")
            continue
        ends = [f"{value / size * (1 if i % 2 == 0 else -1):.2f}" for i, value in enumerate(vertices)]
        words.append(letters[code] + " ".join(ends))
    return "".join(words)


def _facet(results: Results, facet: Facet) -> dict[str, Any]:
    unpruned, classes = dense(results, facet, top1), classes_of(results, facet)
    return {
        "title": facet.title,
        "dataset": facet.dataset,
        "dense": None if unpruned is None else _short(unpruned.mean),
        "chance": 100 / classes if classes else None,
    }


def _points(results: Results, shown: Sequence[Facet], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield each point of a line: facet and pruner by number, compression, runs, and its values by quantity."""
    places = index_results(results).places
    for f, facet in enumerate(shown):
        verdicts = panel_verdicts(results, facet)
        for p, pruner in enumerate(names):
            lines = {name: line(results, facet, pruner, value) for name, value in QUANTITIES.items()}
            for place, compression in enumerate(sorted(places.get((facet, pruner), {}))):
                here = {name: points[place] for name, points in lines.items()}
                rows = sorted(here["accuracy"].rows, key=lambda row: row.cell.seed)
                done = [row for row in rows if row.status == "finished"]
                yield {
                    "f": f,
                    "p": p,
                    "c": compression,
                    "seeds": [row.cell.seed for row in done],
                    "runs": [row.run_id for row in done],
                    "collapsed": here["accuracy"].collapsed,
                    "lost": here["accuracy"].lost,
                    "missing": ", ".join(f"{n} {status}" for status, n in counts(rows).items() if status != "finished"),
                    "values": {name: _values(name, point, verdicts) for name, point in here.items() if point.values},
                }


def _values(name: str, point: CurvePoint, verdicts: PanelVerdicts) -> list[float]:
    """Return mean, lowest, highest and number of values; for accuracies also the ends of the 95 % interval."""
    told = [_short(point.mean), _short(min(point.values)), _short(max(point.values)), len(point.values)]
    interval = verdicts.interval([value / 100 for value in point.values]) if name == "accuracy" else None
    return told + ([_short(100 * end) for end in interval] if interval else [])


def _layers(results: Results, shown: Sequence[Facet], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield per facet the names of its layers and, per pruner and compression, their values in the first seed."""
    for facet in shown:
        places = [(p, c, first_seed(results, facet, name, c)) for p, name in enumerate(names)
                  for c in pruned(results, facet)]  # fmt: skip
        tables = results.details.artifacts([row.run_id for _, _, row in places if row], "layers.json")
        layers: list[str] = []
        macs: list[float | None] = []
        lines = []
        for p, c, row in places:
            if row and (table := tables[row.run_id]):
                layers = layers or list(column(table, "params"))
                macs = macs or _in_order(column(table, "macs"), layers)
                lines.append({"p": p, "c": c, "seed": row.cell.seed} | {
                    figure: _in_order(column(table, key, scale), layers) for figure, (key, scale) in LAYERS.items()
                })  # fmt: skip
        yield {
            "names": [layer_name(layer, place) for place, layer in enumerate(layers, 1)],
            "macs": macs,
            "lines": lines,
        }


def _in_order(values: Mapping[str, float], layers: Sequence[str]) -> list[float | None]:
    return [_short(values[layer]) if layer in values else None for layer in layers]


def _curves(results: Results, shown: Sequence[Facet], names: Sequence[str], every: bool) -> Iterator[dict[str, Any]]:
    """Yield per facet, pruner and compression the median, lowest and highest accuracy of the seeds after each epoch."""
    for f, facet in enumerate(shown):
        some = pruned(results, facet) if every else evenly_spaced(pruned(results, facet), 3)
        places = {
            (p, c): [row.run_id for row in rows_at(results, facet, name, c) if row.status == "finished"]
            for p, name in enumerate(names)
            for c in some
        }
        histories = results.details.histories([run for runs in places.values() for run in runs], "test/top1")
        for (p, c), runs in places.items():
            curve = accuracy_per_epoch([histories[run] for run in runs])
            if len(curve) > 1:
                epochs = evenly_spaced(list(curve), EPOCHS)
                low, middle, high = zip(*([_short(value) for value in curve[epoch]] for epoch in epochs), strict=True)
                yield {"f": f, "p": p, "c": c, "epoch": epochs, "y": middle, "low": low, "high": high, "n": len(runs)}


def _short(value: float) -> float:
    """Return the value with five digits: charts show no more, and the page is smaller."""
    return float(f"{value:.5g}")
