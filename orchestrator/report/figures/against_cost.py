"""Accuracy against a cost: the accuracy that a budget allows, whichever weights are kept, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from orchestrator.colors import look
from orchestrator.report.figures.accuracy import STRETCHED, accuracy_axis, top1
from orchestrator.report.figures.against_compression import MACS_KEPT, draw_line, survivors_note, where_timed
from orchestrator.report.figures.style import Drawing, label, legend, log_ticks, panel_grid, pruner_handles
from orchestrator.results.lines import Facet, RowValue, facets, line, metric_reader, percent, pruners
from orchestrator.results.results import Results

CostAndAccuracy = tuple[float, float]  # cost, accuracy
TRAINING_COST = percent("cost/training_macs", "cost/dense_training_macs")


@dataclass(frozen=True)
class CostAxis:
    """Cost on the horizontal axis of a figure."""

    name: str  # of the figure
    value: RowValue
    title: str  # of the axis, with its unit
    gain: bool = False  # more of it is better, as of a speedup


def draw_against_cost(results: Results, cost: CostAxis, caption: str) -> Iterator[Drawing]:
    """Yield a figure with a panel per facet where the cost is known."""
    shown = [facet for facet in facets(results) if len(_places(results, facet, cost)) > 1]
    if not shown:
        return
    figure, axes = panel_grid(len(shown), sharey=False)
    marks: list[Artist] = []
    for axis, facet in zip(axes, shown, strict=True):
        axis.set_xscale("log")
        marks += accuracy_axis(axis, results, facet)
        marks += _front(axis, front(_places(results, facet, cost), cost.gain))
        for pruner in pruners(results):
            costs = [point.mean for point in line(results, facet, pruner, cost.value)]
            marks += draw_line(axis, costs, line(results, facet, pruner, top1), look(pruner), width=0.6)
        if not cost.gain:
            axis.invert_xaxis()  # more pruning is to the right, as in the other figures
        log_ticks(axis.xaxis)
        axis.set_title(facet.title)
    label(axes, cost.title, "test accuracy (%)")
    legend(figure, [*pruner_handles(pruners(results)), *marks])
    ends = (
        "Means over seeds, one marker per compression. Broad grey line: the Pareto front of the networks that did not "
        f"collapse.{survivors_note(results)} {STRETCHED}"
    )
    yield Drawing(cost.name, f"{caption} {ends}", figure)


def front(places: Sequence[CostAndAccuracy], gain: bool = False) -> list[CostAndAccuracy]:
    """Return the Pareto front, cheapest first: no other place is as accurate at the same or a lower cost.

    With `gain`, a higher number is better: a larger speedup is a lower cost.
    """
    best: list[CostAndAccuracy] = []
    for cost, accuracy in sorted(places, key=lambda place: (-place[0] if gain else place[0], -place[1])):
        if not best or accuracy > best[-1][1]:
            best.append((cost, accuracy))
    return best


def _places(results: Results, facet: Facet, cost: CostAxis) -> list[CostAndAccuracy]:
    found = set()
    for pruner in pruners(results):
        both = zip(line(results, facet, pruner, cost.value), line(results, facet, pruner, top1), strict=True)
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
    yield from draw_against_cost(results, CostAxis("tradeoff", MACS_KEPT, "MACs kept (% of dense)"), caption)


def draw_tradeoff_speedup(results: Results) -> Iterator[Drawing]:
    """Draw accuracy against the speedup: the accuracy that a network as many times as fast has."""
    caption = (
        "Test accuracy after the last epoch against the speedup of the compacted network: the dense network's testing "
        "time over its own, measured in pairs." + where_timed(results)
    )
    speedup = CostAxis("tradeoff-speedup", metric_reader("model/speedup"), "speedup over dense", gain=True)
    yield from draw_against_cost(results, speedup, caption)


def draw_tradeoff_training(results: Results) -> Iterator[Drawing]:
    """Draw accuracy against the total training cost: the accuracy that a budget of training allows."""
    caption = (
        "Test accuracy after the last epoch against the multiply-accumulates of everything that the network needed: "
        "dense training before pruning, every level, scoring and its own training, each with the weights that were "
        "kept. 100 % is the dense network's training for as many epochs."
    )
    training = CostAxis("tradeoff-training", TRAINING_COST, "total training cost (% of dense)")
    yield from draw_against_cost(results, training, caption)
