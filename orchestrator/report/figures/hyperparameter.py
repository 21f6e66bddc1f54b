"""Accuracy against a setting that a space varies, such as a pruner's iterations or the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from orchestrator.colors import Look
from orchestrator.report.figures.accuracy import STRETCHED, stretch, top1
from orchestrator.report.figures.against_compression import draw_line, seeds_note
from orchestrator.report.figures.style import Drawing, evenly_spaced, file_name, label, legend, panel_grid
from orchestrator.results.lines import CurvePoint, Facet, facets, line, pruners
from orchestrator.results.results import Results
from search_spaces.labels import MARK

LEAST = 3  # fewest values for an axis; two are compared in the other figures
PANELS, COMPRESSIONS = 9, 6  # the most that fit a page, and that can be told apart

SettingValues = Mapping[float, Sequence[CurvePoint]]  # a setting's value -> its points, by compression


def draw(results: Results) -> Iterator[Drawing]:
    """Yield a figure per numeric setting of at least three values, with a panel per combination of the others."""
    for key, found in _families(results).items():
        shown = {title: values for title, values in found.items() if len(values) >= LEAST}
        if shown:
            yield _figure(results, key, {title: shown[title] for title in evenly_spaced(list(shown), PANELS)})


def _families(results: Results) -> dict[str, dict[str, dict[float, list[CurvePoint]]]]:
    """Return the points of each setting's values, by setting, then by the other settings as a title."""
    found: dict[str, dict[str, dict[float, list[CurvePoint]]]] = {}
    for facet in facets(results):
        for pruner in pruners(results):
            points = [p for p in line(results, facet, pruner, top1) if p.compression > 1 and p.values]
            name, settings = _read(facet, pruner)
            for key, text in settings.items() if points else ():
                value = _number(key, text)
                if value is not None:
                    rest = [f"{other}={said}" for other, said in settings.items() if other != key]
                    title = " · ".join([name, facet.architecture, facet.dataset, *rest])
                    found.setdefault(key, {}).setdefault(title, {})[value] = points
    return found


def _read(facet: Facet, pruner: str) -> tuple[str, dict[str, str]]:
    """Return a pruner's name, and the settings of the facet and of the label, such as `ntk-sap iterations=5`."""
    words = pruner.split(" ")
    name = " ".join([words[0], *(word for word in words[1:2] if MARK.fullmatch(f" {word}"))])
    own = {key: value for key, sign, value in (word.partition("=") for word in words) if sign}
    return name, {**dict(facet.settings), **own}


def _number(key: str, text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and key != "mask" else None  # a name, even if it has only digits


def _figure(results: Results, key: str, shown: Mapping[str, SettingValues]) -> Drawing:
    everything = [point for values in shown.values() for points in values.values() for point in points]
    compressions = evenly_spaced(sorted({point.compression for point in everything}), COMPRESSIONS)
    shades = matplotlib.colormaps["viridis"]
    colors = {c: shades(0.85 - 0.75 * i / max(1, len(compressions) - 1)) for i, c in enumerate(compressions)}
    seen = [value for point in everything if point.compression in colors for value in point.values]
    figure, axes = panel_grid(len(shown), sharey=True)
    marks: list[Artist] = []
    for axis, (title, values) in zip(axes, shown.items(), strict=True):
        stretch(axis, min(seen), max(seen))
        marks += _lines(axis, values, colors)
        _axis(axis, sorted(values))
        axis.set_title(title)
    label(axes, key, "test accuracy (%)")
    handles = [Line2D([], [], color=color, marker="o", label=f"{c:.3g}x") for c, color in colors.items()]
    legend(figure, [*handles, *marks])
    caption = (
        f"Test accuracy after the last epoch against {key}, all else equal; a line per compression. "
        f"{seeds_note(results)} {STRETCHED} Hollow markers: a run was left without a path from input to output."
    )
    return Drawing(file_name("setting", key), caption, figure)


def _lines(axis: Axes, values: SettingValues, colors: Mapping[float, Any]) -> Iterator[Artist]:
    for compression, color in colors.items():
        at = {v: p for v in sorted(values) for p in values[v] if p.compression == compression}
        yield from draw_line(axis, list(at), list(at.values()), Look(color, "o"))
        low, high = [min(p.values) for p in at.values()], [max(p.values) for p in at.values()]
        axis.fill_between(list(at), low, high, color=color, alpha=0.16, linewidth=0, zorder=2)


def _axis(axis: Axes, values: Sequence[float]) -> None:
    """Set a tick at each value that was run; make the axis logarithmic if they span a factor of eight."""
    if values[0] > 0 and values[-1] / values[0] >= 8:
        axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(list(values)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FixedFormatter([f"{value:g}" for value in values]))
