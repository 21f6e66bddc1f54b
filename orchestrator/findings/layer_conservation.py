"""Conservation at layers in words."""

from __future__ import annotations

from orchestrator.comparing.measured import Measured, by_pruner
from orchestrator.findings.finding import Finding, listed, metric, spread
from orchestrator.findings.unit_conservation import ERROR, EXACT

SLOPE, CORRELATION = "conservation/slope", "conservation/correlation"


def sentences(found: list[Measured]) -> list[str]:
    """Who has one total in all layers, and how the averages of the others go with size."""
    pruners = by_pruner(found)
    kept = [pruner for pruner, some in pruners.items() if max(metric(some, ERROR)) < EXACT]
    said = [f"All layers have the same total score for {listed(kept)}."] if kept else []
    slopes = [
        f"{spread(metric(some, SLOPE))} for {pruner} (correlation {spread(metric(some, CORRELATION))})"
        for pruner, some in pruners.items()
        if metric(some, SLOPE)
    ]
    if slopes:
        said.append(f"The average score of a layer goes along its inverse size to the power of {', '.join(slopes)}.")
    return said


def rows(found: list[Measured]) -> list[list[str]]:
    return [
        [
            pruner,
            f"{max(metric(some, ERROR)):.2g}",
            spread(metric(some, SLOPE), 3),
            spread(metric(some, CORRELATION), 3),
            str(len(some)),
        ]
        for pruner, some in by_pruner(found).items()
    ]


LAYER_CONSERVATION = Finding(
    title="Average score of layers against their inverse size, both logarithmic: 1 where the total is conserved",
    heads=("pruner", "difference of totals", "slope", "correlation", "seeds"),
    rows=rows,
    sentences=sentences,
)
