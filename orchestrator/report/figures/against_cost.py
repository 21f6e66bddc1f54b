"""Accuracy against a cost: the accuracy that a budget allows, whichever weights are kept, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from orchestrator.colors import look
from orchestrator.report.figures.accuracy import STRETCHED, accuracy_axis, top1
from orchestrator.report.figures.against_compression import MACS_KEPT, draw_line, survivors_note
from orchestrator.report.figures.style import Drawing, label, legend, log_ticks, panels, pruner_handles
from orchestrator.results.lines import Facet, RowValue, facets, line, metric, pruners
from orchestrator.results.results import Results

CostAndAccuracy = tuple[float, float]  # cost, accuracy


def draw_against_cost(results: Results, name: str, cost: RowValue, axis_title: str, caption: str) -> Iterator[Drawing]:
    """Yield a figure with a panel per facet where the cost is known."""
    shown = [facet for facet in facets(results) if len(_places(results, facet, cost)) > 1]
    if not shown:
        return
    figure, axes = panels(len(shown), sharey=False)
    marks: list[Artist] = []
    for axis, facet in zip(axes, shown, strict=True):
        axis.set_xscale("log")
        marks += accuracy_axis(axis, results, facet)
        marks += _front(axis, front(_places(results, facet, cost)))
        for pruner in pruners(results):
            costs = [point.mean for point in line(results, facet, pruner, cost)]
            marks += draw_line(axis, costs, line(results, facet, pruner, top1), look(pruner), width=0.6)
        axis.invert_xaxis()  # more pruning is to the right, as in the other figures
        log_ticks(axis.xaxis)
        axis.set_title(facet.title)
    label(axes, axis_title, "test accuracy (%)")
    legend(figure, [*pruner_handles(pruners(results)), *marks])
    ends = (
        "Means over seeds, one marker per compression. Broad grey line: the Pareto front of the networks that did not "
        f"collapse.{survivors_note(results)} {STRETCHED}"
    )
    yield Drawing(name, f"{caption} {ends}", figure)


def front(places: Sequence[CostAndAccuracy]) -> list[CostAndAccuracy]:
    """Return the Pareto front, cheapest first: no other place is as accurate at the same or a lower cost."""
    best: list[CostAndAccuracy] = []
    for cost, accuracy in sorted(places, key=lambda place: (place[0], -place[1])):
        if not best or accuracy > best[-1][1]:
            best.append((cost, accuracy))
    return best


def _places(results: Results, facet: Facet, cost: RowValue) -> list[CostAndAccuracy]:
    found = set()
    for pruner in pruners(results):
        both = zip(line(results, facet, pruner, cost), line(results, facet, pruner, top1), strict=True)
        # A collapsed network costs least, but only guesses: it is not on the front.
        found |= {(a.mean, b.mean) for a, b in both if not (math.isnan(a.mean + b.mean) or b.flatters or b.collapsed)}
    return sorted(found)


def _front(axis: Axes, places: Sequence[CostAndAccuracy]) -> Iterator[Artist]:
    costs, accuracies = zip(*places, strict=True)
    yield from axis.step(costs, accuracies, where="post", color="#d9d9d9", linewidth=5, zorder=1, label="Pareto front",
                         solid_capstyle="round", solid_joinstyle="round")  # fmt: skip


def draw_tradeoff(results: Results) -> Iterator[Drawing]:
    """Draw accuracy against MACs kept: the accuracy that a budget of work allows."""
    caption = "Test accuracy after the last epoch against the multiply-accumulates that remain."
    yield from draw_against_cost(results, "tradeoff", MACS_KEPT, "MACs kept (% of dense)", caption)


def draw_tradeoff_latency(results: Results) -> Iterator[Drawing]:
    """Draw accuracy against testing time: the accuracy that a budget of milliseconds allows."""
    caption = "Test accuracy after the last epoch against the time of one forward pass of 64 inputs, compacted."
    time = metric("model/latency_ms")
    yield from draw_against_cost(results, "tradeoff-latency", time, "testing time (ms)", caption)
