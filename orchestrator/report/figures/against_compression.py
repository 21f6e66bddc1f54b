"""Panels with compression on the horizontal axis: one line per pruner, one panel per facet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from orchestrator.colors import GREY, Look, look
from orchestrator.report.figures.finding import in_words
from orchestrator.report.figures.style import Drawing, label, legend, log_ticks, panel_grid, pruner_handles
from orchestrator.results.lines import (
    TOP1,
    CurvePoint,
    Facet,
    RowValue,
    compressions,
    facets,
    flattering,
    line,
    metric_reader,
    percent,
    pruners,
)
from orchestrator.results.results import Results

MACS_KEPT = percent("model/macs_kept", "model/macs")
PARAMS_KEPT = percent("model/params_kept", "model/params")
LEVEL, FLOOR = 0.07, 0.4  # shares of the axis height: between crosses of one compression, at most for all of them
HOLE = Line2D([], [], color="#444444", linestyle="", marker="x", label="no result")
SURVIVORS = Line2D([], [], color="#444444", linestyle="", marker="o", fillstyle="bottom", label="best seeds only")
COLLAPSED = Line2D([], [], color="#444444", linestyle="", marker="o", markerfacecolor="white", label="collapsed")


def draw_cost(
    results: Results, name: str, measure: RowValue, axis_title: str, caption: str, share: bool
) -> Iterator[Drawing]:
    """Yield a figure of a cost on a logarithmic axis; a `share` of the dense network's gets a 1/compression line."""
    shown = facets(results, measure)
    if not shown:
        return
    figure, axes = panel_grid(len(shown), sharey=False)
    marks: list[Artist] = []
    for axis, facet in zip(axes, shown, strict=True):
        x = compressions(results, facet)
        axis.set_yscale("log")
        if share:
            marks += axis.plot(x, [100 / c for c in x], color=GREY, linestyle=":", linewidth=0.9, label="1/compression")
        marks += draw_lines(axis, results, facet, measure)
        log_ticks(axis.yaxis)
        axis.set_title(facet.title)
    label(axes, "compression", axis_title)
    legend(figure, [*pruner_handles(pruners(results)), *marks])
    yield Drawing(name, f"{caption} {seeds_note(results)}{coincidence_note(results, shown, measure)}", figure)


def draw_lines(axis: Axes, results: Results, facet: Facet, measure: RowValue) -> Iterator[Line2D]:
    """Draw every pruner of a facet; yield legend entries for the marks that occur."""
    holes: dict[float, int] = {}
    step = min(LEVEL, FLOOR / max(1, _levels(results)))
    drawn_already = coinciding(results, facet, measure)
    for pruner in pruners(results):
        points = line(results, facet, pruner, measure)
        if pruner in drawn_already:
            points = [point for point in points if point.lost]
        style = look(pruner)
        x = [point.compression for point in points]
        yield from draw_line(axis, x, points, style)
        if any(len(point.values) > 1 for point in points):
            low = [min(point.values, default=math.nan) for point in points]
            high = [max(point.values, default=math.nan) for point in points]
            axis.fill_between(x, low, high, color=style.color, alpha=0.16, linewidth=0, zorder=2)
        for point in points:
            if point.lost:
                # A missing result has no height: its cross is at the bottom, with crosses of one compression stacked.
                level = holes[point.compression] = holes.get(point.compression, 0) + 1
                axis.plot(point.compression, step * (level - 0.4), "x", color=style.color,
                          transform=axis.get_xaxis_transform(), clip_on=False, zorder=5)  # fmt: skip
                yield HOLE
    compression_axis(axis, compressions(results, facet))
    make_room(axis, step * _levels(results))


def coinciding(results: Results, facet: Facet, measure: RowValue) -> dict[str, str]:
    """Return the pruners whose whole line is within 0.1 % of another's, each with the first pruner of that line."""
    lines = {pruner: line(results, facet, pruner, measure) for pruner in pruners(results)}
    found: dict[str, str] = {}
    for pruner, points in lines.items():
        if sum(bool(point.values) for point in points) < 2:
            continue  # one point may be equal by chance
        for other, others in lines.items():
            if other == pruner:
                break
            if other not in found and _coincide(points, others):
                found[pruner] = other
                break
    return found


def _coincide(points: Sequence[CurvePoint], others: Sequence[CurvePoint]) -> bool:
    def ends(point: CurvePoint) -> list[float]:
        return [point.compression, point.mean, min(point.values), max(point.values)] if point.values else []

    def looks(point: CurvePoint) -> tuple[bool, bool]:
        return point.collapsed > 0, point.flatters

    one, other = ([point for point in some if point.values] for some in (points, others))
    if [looks(point) for point in one] != [looks(point) for point in other]:
        return False
    return all(
        math.isclose(a, b, rel_tol=1e-3)
        for p, q in zip(one, other, strict=True)
        for a, b in zip(ends(p), ends(q), strict=True)
    )


def coincidence_note(results: Results, shown: Sequence[Facet], measure: RowValue) -> str:
    """Return what a caption says of lines that lie on another one, with a space before it; "" without any."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for facet in shown:
        lines: dict[str, list[str]] = {}
        for pruner, first in coinciding(results, facet, measure).items():
            lines.setdefault(first, [first]).append(pruner)
        for names in lines.values():
            groups.setdefault(tuple(names), []).append(facet.title)
    if not groups:
        return ""
    everywhere = len(shown) > 1 and all(len(titles) == len(shown) for titles in groups.values())
    said = [
        in_words(names) + ("" if everywhere or len(shown) == 1 else f" ({', '.join(titles)})")
        for names, titles in groups.items()
    ]
    return f" Lines that coincide are drawn once, as the first of: {'; '.join(said)}."


def draw_line(
    axis: Axes, x: Sequence[float], points: Sequence[CurvePoint], style: Look, width: float = 1.3
) -> Iterator[Line2D]:
    """Draw a line through the means: hollow where a run collapsed, half-filled where early stopping chose the seeds.

    The line breaks at a missing result, whose mean is NaN. `width` is in points: thin where the line goes back and
    forth.
    """
    axis.plot(x, [point.mean for point in points], color=style.color, linestyle=style.dash, linewidth=width, zorder=3)
    for place, point in zip(x, points, strict=True):
        fill = "white" if point.collapsed else style.color
        axis.plot(place, point.mean, marker=style.marker, color=style.color, markerfacecolor=fill, zorder=4,
                  fillstyle="bottom" if point.flatters else "full", markerfacecoloralt="white",
                  clip_on=False)  # fmt: skip
        if point.flatters:
            yield SURVIVORS
        if point.collapsed:
            yield COLLAPSED


def _levels(results: Results) -> int:
    """Return the most pruners lost at one place; all panels get room for as many, so that they stay comparable."""
    counts = Counter(
        (facet, point.compression)
        for facet in facets(results)
        for pruner in pruners(results)
        for point in line(results, facet, pruner, TOP1)
        if point.lost
    )
    return max(counts.values(), default=0)


def make_room(axis: Axes, share: float) -> None:
    """Extend the axis downwards by a share of its height, on any scale, so that marks there cover no data."""
    scale = axis.yaxis.get_transform()
    low, high = scale.transform(list(axis.get_ylim()))
    axis.set_ylim(bottom=scale.inverted().transform([low - share * (high - low)])[0])


def compression_axis(axis: Axes, values: Sequence[float]) -> None:
    """Make the axis logarithmic, with a tick at each compression that was run and a label wherever one fits."""
    axis.set_xscale("log")
    axis.set_xlim(values[0] / 1.08, values[-1] * 1.08)
    axis.xaxis.set_major_locator(FixedLocator(list(values)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FixedFormatter(_labels(values)))


def _labels(values: Sequence[float], room: float = 0.125) -> list[str]:
    """Return `1x 2x 5x …`, without labels closer than `room` of the axis to the last or another shown label."""
    span = math.log(values[-1] / values[0]) or 1
    shown = [values[-1]]
    for value in values[:-1]:
        if all(abs(math.log(other / value)) >= room * span for other in shown):
            shown.append(value)
    return [f"{value:g}x" if value in shown else "" for value in values]


def seeds_note(results: Results) -> str:
    """Return what a caption says of seeds."""
    count = len({row.cell.seed for row in results.rows})
    if count == 1:
        return "One seed (n = 1): the spread is not known."
    most = "up to " if results.missing else ""
    spread = f"Lines are means over {most}n = {count} seeds, bands span the worst to the best."
    return spread + survivors_note(results)


def survivors_note(results: Results) -> str:
    """Return what a caption says of means biased by early stopping, with a space before it; "" without any."""
    if not flattering(results):
        return ""
    return " Half-filled: some of the seeds were stopped early, so the mean of the others is too optimistic."


def where_timed(results: Results) -> str:
    """Return what a caption says of latencies that were all measured alone, with a space before it; "" else."""
    timed = [row.tags.get("latency") for row in results.rows if "model/latency_ms" in row.metrics]
    return " Each was measured alone on its device." if timed and set(timed) == {"alone"} else ""


def draw_speedup(results: Results) -> Iterator[Drawing]:
    """Draw the speedup: what pruning gains on software that ignores masks."""
    caption = (
        "Speedup: the dense network's time for a forward pass, divided by the time of the pruned one after channels "
        "without effect on the output were removed; both were measured in pairs. Single zero weights save no time; "
        "only removed channels do." + where_timed(results)
    )
    yield from draw_cost(results, "speedup", metric_reader("model/speedup"), "speedup over dense", caption, share=False)


def draw_macs(results: Results) -> Iterator[Drawing]:
    """Draw the MACs kept: equal compression is not equal work."""
    caption = (
        "Multiply-accumulates that remain after pruning, which the papers' tables call FLOPs. On the dotted line they "
        "fall as fast as the weights; above it a pruner removes weights that cost few MACs."
    )
    yield from draw_cost(results, "macs", MACS_KEPT, "MACs kept (% of dense)", caption, share=True)


def draw_params(results: Results) -> Iterator[Drawing]:
    """Draw the parameters kept, including those that are not prunable."""
    caption = (
        "Parameters that remain after pruning: the kept weights, and the biases and normalisation, which no pruner "
        "removes. Because of these the line stays above the dotted one."
    )
    yield from draw_cost(results, "params", PARAMS_KEPT, "parameters kept (% of dense)", caption, share=True)
