"""History of a search: every trial by number, and the best so far. A line that still rises needs more trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from orchestrator.colors import Look, look
from orchestrator.report.figures.accuracy import STRETCHED, stretch
from orchestrator.report.figures.style import (
    Drawing,
    evenly_spaced,
    file_name,
    label,
    legend,
    log_ticks,
    panel_grid,
    pruner_handles,
)
from orchestrator.report.studies import Group, Tuned, groups
from orchestrator.results.objectives import Objective
from orchestrator.results.results import Results

PANELS = 6  # most panels of a figure; evenly chosen compressions if there are more
TOGETHER = Look("#333333", "o")  # the best of a study that chose between pruners
LOST = {"stopped": ("|", "stopped early"), "failed": ("x", "failed")}  # marks of trials without a value, at the bottom


def draw(results: Results) -> Iterator[Drawing]:
    """Yield a figure per dataset and architecture, with a panel per compression and objective, and a line per study."""
    for subject, found in groupby(groups(results), key=lambda group: group.subject):
        panels_of = [
            (group, objective)
            for group in evenly_spaced(list(found), PANELS)
            for objective in dict.fromkeys(objective for study in group.studies for objective in study.objectives)
            if any(study.values for study in group.studies)
        ]
        if panels_of:
            yield _figure(subject, panels_of)


def _figure(subject: str, shown: Sequence[tuple[Group, Objective]]) -> Drawing:
    alike = len({objective for _, objective in shown}) == 1
    figure, axes = panel_grid(len(shown), sharey=False)
    handles: list[Artist] = []
    extent = [value for group, objective in shown for value in _all(group, objective)]
    for axis, (group, objective) in zip(axes, shown, strict=True):
        scale_axis(axis, objective, extent if alike else _all(group, objective))
        for study in group.studies:
            handles += _study(axis, study, objective)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_title(group.title if alike else objective.title)
    label(axes, "trial", shown[0][1].title if alike else "")
    legend(figure, handles, title=subject)
    alone = "" if alike else " in that objective alone"
    stretched = f" {STRETCHED}" if any(objective.name == "validation/top1" for _, objective in shown) else ""
    caption = (
        f"{subject}: what the search tried. One marker per trial, in the order in which they were chosen; lines are "
        f"the best so far{alone}. These values chose the settings, so they are too optimistic to be results.{stretched}"
    )
    return Drawing(file_name("search-history", subject), caption, figure)


def _study(axis: Axes, study: Tuned, objective: Objective) -> Iterator[Artist]:
    place = study.objectives.index(objective)
    points = [(number + 1, objective.scale * values[place]) for number, values in study.values.items()]
    pruners = list(dict.fromkeys(row.cell.pruner for row in study.rows))
    for pruner in pruners:
        own = [point for point in points if study.rows[point[0] - 1].cell.pruner == pruner]
        style = look(pruner)
        axis.plot(*_columns(own), linestyle="", marker=style.marker, color=style.color, alpha=0.4, markersize=3,
                  markeredgewidth=0)  # fmt: skip
    best: list[tuple[int, float]] = []
    for number, value in points:
        if not best or objective.sign * value > objective.sign * best[-1][1]:
            best.append((number, value))
    if best:
        best.append((len(study.rows), best[-1][1]))
        style = TOGETHER if len(pruners) > 1 else look(pruners[0])
        axis.step(*_columns(best), where="post", color=style.color, linestyle=style.dash, linewidth=1.3, zorder=3)
    yield from pruner_handles(pruners)
    if len(pruners) > 1:
        yield Line2D([], [], color=TOGETHER.color, label="best so far")
    for number, row in enumerate(study.rows, 1):
        if row.status in LOST:
            marker, word = LOST[row.status]
            axis.plot(number, 0.03, marker=marker, color=look(row.cell.pruner).color, markersize=3.5,
                      transform=axis.get_xaxis_transform())  # fmt: skip
            yield Line2D([], [], color="#444444", linestyle="", marker=marker, label=word)


def scale_axis(axis: Axes, objective: Objective, values: Sequence[float]) -> None:
    """Stretch the axis towards 100 % for accuracies; make it logarithmic if values span more than a factor of ten."""
    if objective.name == "validation/top1":
        stretch(axis, min(values), max(values))
    elif min(values) > 0 and max(values) > 10 * min(values):
        axis.set_yscale("log")
        axis.set_ylim(min(values) / 1.3, max(values) * 1.3)
        log_ticks(axis.yaxis)


def _all(group: Group, objective: Objective) -> list[float]:
    return [
        objective.scale * values[study.objectives.index(objective)]
        for study in group.studies
        for values in study.values.values()
    ]


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
