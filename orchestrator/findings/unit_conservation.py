"""Conservation at hidden units in words."""

from __future__ import annotations

from statistics import fmean

from orchestrator.comparing.measured import Measured, by_pruner
from orchestrator.findings.finding import Finding, listed, metric

EXACT = 1e-6  # a relative difference that is rounding
ERROR, MEDIAN = "conservation/error", "conservation/median_error"


def sentences(found: list[Measured]) -> list[str]:
    """Who conserves, and by how much the others do not."""
    pruners = by_pruner(found)
    kept = [pruner for pruner, some in pruners.items() if max(metric(some, ERROR)) < EXACT]
    said = []
    if kept:
        most = max(error for pruner in kept for error in metric(pruners[pruner], ERROR))
        said.append(f"As much score flows into every hidden unit as out of it for {listed(kept)}, to {most:.0e}.")
    lost = [
        f"{pruner} ({fmean(metric(some, MEDIAN)):.1%} at the middle unit, {max(metric(some, ERROR)):.0%} at the worst)"
        for pruner, some in pruners.items()
        if pruner not in kept
    ]
    return [*said, *([f"The two differ for {listed(lost)}."] if lost else [])]


def rows(found: list[Measured]) -> list[list[str]]:
    return [
        [
            pruner,
            str(len(some[0].columns["unit"])),
            f"{fmean(metric(some, MEDIAN)):.2g}",
            f"{max(metric(some, ERROR)):.2g}",
            str(len(some)),
        ]
        for pruner, some in by_pruner(found).items()
    ]


UNIT_CONSERVATION = Finding(
    title="Score into and out of hidden units: their difference as a share of the larger",
    heads=("pruner", "hidden units", "median error", "largest error", "seeds"),
    rows=rows,
    sentences=sentences,
)
