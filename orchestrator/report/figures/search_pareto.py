"""Several objectives at once: all trials of a search, and the Pareto front, which no other trial beats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from orchestrator.colors import look
from orchestrator.report.figures.accuracy import STRETCHED
from orchestrator.report.figures.search_history import PANELS, scale_axis
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

FRONT = Line2D([], [], color="#d0d0d0", linewidth=4, label="Pareto front")


def draw(results: Results) -> Iterator[Drawing]:
    """Yield figures of the first objective against each other one, with a panel per objective and compression."""
    several = [group for group in groups(results) if any(len(study.objectives) > 1 for study in group.studies)]
    for subject, found in groupby(several, key=lambda group: group.subject):
        shown = [
            (group, other)
            for group in evenly_spaced(list(found), PANELS)
            for other in group.studies[0].objectives[1:]
            if any(study.values for study in group.studies)
        ]
        if shown:
            yield _figure(subject, shown)


def _figure(subject: str, shown: Sequence[tuple[Group, Objective]]) -> Drawing:
    first = shown[0][0].studies[0].objectives[0]
    figure, axes = panel_grid(len(shown), sharey=False)
    handles: list[Artist] = []
    for axis, (group, other) in zip(axes, shown, strict=True):
        places = [(study, study.objectives.index(other)) for study in group.studies]
        heights = [first.scale * v[0] for study in group.studies for v in study.values.values()]
        widths = [other.scale * v[at] for study, at in places for v in study.values.values()]
        scale_axis(axis, first, heights)
        if min(widths) > 0 and max(widths) > 10 * min(widths):
            axis.set_xscale("log")
            log_ticks(axis.xaxis)
        if other.sign < 0:
            axis.invert_xaxis()
        if first.sign < 0:
            axis.invert_yaxis()
        for study, at in places:
            handles += _study(axis, study, at)
        if len({group.title for group, _ in shown}) > 1:
            axis.set_title(group.title)
        axis.set_xlabel(other.title)
    label(axes, axes[-1].get_xlabel(), first.title)
    legend(figure, [*handles, FRONT], title=subject)
    stretched = f" {STRETCHED}" if first.name == "validation/top1" else ""
    caption = (
        f"{subject}: every finished trial of the search; better is up and to the right. Full markers are on the Pareto "
        f"front: no other trial is as good in all objectives and better in one. One seed each.{stretched}"
    )
    return Drawing(file_name("search-pareto", subject), caption, figure)


def _study(axis: Axes, study: Tuned, at: int) -> Iterator[Artist]:
    """Draw the trials of a study, and a line along the front if it has two objectives; yield legend entries."""
    first, other = study.objectives[0], study.objectives[at]
    front = sorted((other.scale * study.values[n][at], first.scale * study.values[n][0]) for n in study.best)
    if len(study.objectives) == 2 and front:
        # Up to a front member's value of the first objective, that member's value of the second is enough.
        axis.step(*zip(*front, strict=True), where="post" if other.sign < 0 else "pre", color="#d0d0d0", linewidth=4,
                  zorder=1, solid_capstyle="round", solid_joinstyle="round")  # fmt: skip
    for pruner in dict.fromkeys(row.cell.pruner for row in study.rows):
        style = look(pruner)
        for chosen in (False, True):
            own = [n for n in study.values if (n in study.best) == chosen and study.rows[n].cell.pruner == pruner]
            x = [other.scale * study.values[n][at] for n in own]
            y = [first.scale * study.values[n][0] for n in own]
            axis.plot(x, y, linestyle="", marker=style.marker, color=style.color, alpha=1 if chosen else 0.3,
                      markersize=4.5 if chosen else 3, markeredgecolor="#222222" if chosen else "none",
                      markeredgewidth=0.5, zorder=4 if chosen else 2)  # fmt: skip
        yield from pruner_handles([pruner])
