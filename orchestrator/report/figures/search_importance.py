"""Importance of searched settings per study: which need further trials, and which can be left alone."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from matplotlib.axes import Axes

from orchestrator.colors import look
from orchestrator.report.figures.search_history import TOGETHER
from orchestrator.report.figures.style import Drawing, legend, panel_grid, pruner_handles
from orchestrator.report.importance import TRIALS, importances
from orchestrator.report.studies import Tuned, tuned
from orchestrator.results.results import Results

Shares = list[tuple[str, dict[str, float]]]  # the pruner of a study ("" for several), and its settings' shares


def draw(results: Results) -> Iterator[Drawing]:
    """Yield a figure with a panel per objective, a row per setting, and a marker per study."""
    studies = tuned(results)
    names = list(dict.fromkeys(objective for study in studies for objective in study.objectives))
    found: dict[str, Shares] = {}
    for objective in names:
        own = [(_pruner(study), importances(study, study.objectives.index(objective))) for study in studies
               if objective in study.objectives]  # fmt: skip
        if shares := [entry for entry in own if entry[1]]:
            found[objective.title] = shares
    if not found:
        return
    figure, axes = panel_grid(len(found), sharey=False)
    for axis, (title, shares) in zip(axes, found.items(), strict=True):
        _rows(axis, shares)
        axis.set_title(title)
        axis.set_xlabel("share of the variance (%)")
    pruners = {pruner for shares in found.values() for pruner, _ in shares if pruner}
    if pruners:
        legend(figure, pruner_handles(sorted(pruners)))
    caption = (
        "Importance of each searched setting: its share of the variance of the objective over the trials of a "
        "study, by a random forest (fANOVA, Hutter 2014). A marker is a study, a bar the mean of them. Left out: "
        f"studies with fewer than {TRIALS} finished trials or with one setting, and settings that not all trials have."
    )
    yield Drawing("search-importance", caption, figure)


def _rows(axis: Axes, shares: Shares) -> None:
    keys = dict.fromkeys(key for _, own in shares for key in own)
    means = {key: fmean(own[key] for _, own in shares if key in own) for key in keys}
    order = sorted(means, key=lambda key: means[key])
    axis.barh(range(len(order)), [100 * means[key] for key in order], height=0.6, color="#dddddd", zorder=1)
    for pruner, own in shares:
        style = look(pruner) if pruner else TOGETHER
        places = [order.index(key) for key in own]
        axis.plot([100 * share for share in own.values()], places, linestyle="", marker=style.marker, color=style.color,
                  markersize=4, alpha=0.8, zorder=3, clip_on=False)  # fmt: skip
    axis.set_yticks(range(len(order)), order)
    axis.set_ylim(-0.6, len(order) - 0.4)
    axis.set_xlim(0, 100)
    axis.grid(visible=False, axis="y")


def _pruner(study: Tuned) -> str:
    names = {row.cell.pruner for row in study.rows}
    return names.pop() if len(names) == 1 else ""
