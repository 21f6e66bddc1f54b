"""Largest cut of any iteration against the number of iterations, for each schedule."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

import matplotlib
from matplotlib.colors import LogNorm

from orchestrator.report.figures.finding import Finding
from orchestrator.report.figures.style import Drawing, file_name, label, legend, panel_grid
from orchestrator.report.measured import Measured, tables_by_panel
from orchestrator.results.results import Results

RATIO = "conservation/cut_to_flow"
Curves = dict[tuple[str, str], dict[float, dict[int, float]]]  # pruner, schedule -> compression -> iterations -> ratio


def sentences(found: list[Measured]) -> list[str]:
    """Return sentences on the number of iterations from which no iteration cuts the whole flow, per schedule."""
    said = []
    for (pruner, schedule), lines in means_over_seeds(found).items():
        enough = {c: n for c, line in lines.items() if (n := _enough(line))}
        name = f"{pruner}, {schedule} schedule"
        never = [f"{c:g}x" for c in lines if c not in enough]
        parts = [f"{c:g}x from {n} iterations on" for c, n in enough.items()]
        if parts:
            said.append(f"{name}: no iteration cuts as much as the whole flow, at {', '.join(parts)}.")
        if never:
            most = max(max(line) for line in lines.values())
            said.append(
                f"{name}: with up to {most} iterations, some iteration cuts as much as the whole flow, "
                f"at {', '.join(never)}."
            )
    return said


def _enough(line: dict[int, float]) -> int | None:
    """Return the number of iterations from which all ratios are below 1; None if there is none."""
    below = None
    for count, ratio in sorted(line.items(), reverse=True):
        if ratio >= 1:
            break
        below = count
    return below


def rows(found: list[Measured]) -> list[list[str]]:
    """Return a table row per pruner, schedule, compression and number of iterations."""
    return [
        [pruner, schedule, f"{compression:g}", str(count), f"{ratio:.4g}"]
        for (pruner, schedule), lines in means_over_seeds(found).items()
        for compression, line in lines.items()
        for count, ratio in line.items()
    ]


def means_over_seeds(found: list[Measured]) -> Curves:
    """Return the means over seeds. One iteration is the same in every schedule, and is in each that was asked for."""
    values: dict[tuple[str, str], dict[float, dict[int, list[float]]]] = {}
    for one in found:
        cell, trial = one.row.cell, one.trial
        lines = values.setdefault((one.pruner, str(cell.settings.get("schedule", trial.schedule))), {})
        lines.setdefault(cell.compression, {}).setdefault(trial.iterations, []).append(one.row.metrics[RATIO])
    return {
        key: {c: {n: fmean(ratios) for n, ratios in sorted(line.items())} for c, line in sorted(lines.items())}
        for key, lines in values.items()
    }


SCHEDULE_CONSERVATION = Finding(
    title="The largest score that an iteration prunes, over the flow through the network",
    heads=("pruner", "schedule", "compression", "iterations", "cut to flow"),
    rows=rows,
    sentences=sentences,
)


MEASURE = "schedule-conservation"


def draw(results: Results) -> Iterator[Drawing]:
    """Yield one figure per panel, with an axis for each pruner and schedule, and a line for each compression."""
    shades = matplotlib.colormaps["viridis_r"]
    for facet, found in tables_by_panel(results, MEASURE).items():
        lines = means_over_seeds(found)
        compressions = sorted({compression for line in lines.values() for compression in line})
        scale = LogNorm(compressions[0] / 2, compressions[-1])
        figure, axes = panel_grid(len(lines), sharey=True)
        marks = []
        for axis, ((pruner, schedule), by_compression) in zip(axes, lines.items(), strict=True):
            for compression, line in by_compression.items():
                color = shades(scale(compression))
                marks += axis.plot(list(line), list(line.values()), color=color, marker=".", label=f"{compression:g}x")
            axis.axhline(1, color="black", linestyle=(0, (4, 2)), linewidth=0.9)
            axis.set_title(f"{pruner}, {schedule}")
        label(axes, "pruning iterations", "largest cut / flow")
        legend(figure, marks, title=facet.title)
        caption = (
            f"{facet.title}: the largest score that any iteration prunes, over the flow through the whole network, "
            "against the number of iterations. Below the dashed line no iteration can cut all paths: no layer is lost."
        )
        yield Drawing(file_name(MEASURE, facet.title), caption, figure)
