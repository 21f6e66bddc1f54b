"""MACs kept against compression: equal compression is not equal work."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.artist import Artist

from orchestrator.colors import GREY
from orchestrator.figures.against_compression import draw_lines, seeds_note
from orchestrator.figures.drawing import Drawing, label, legend, log_percent, panels, pruner_handles
from orchestrator.lines import compressions, facets, pruners, ratio
from orchestrator.results import Results, Row

KEPT = ratio("model/macs_kept", "model/macs")


def percent_kept(row: Row) -> float | None:
    """The share of the dense network's multiply-accumulates that remains, in percent."""
    value = KEPT(row)
    # A network that collapsed altogether keeps none, which a logarithmic axis cannot show: no point there.
    return 100 * value if value else None


def draw(results: Results) -> Iterator[Drawing]:
    if all(percent_kept(row) is None for row in results.rows):
        return
    shown = facets(results)
    figure, axes = panels(len(shown), sharey=False)
    marks: list[Artist] = []
    for axis, facet in zip(axes, shown, strict=True):
        x = compressions(results, facet)
        axis.set_yscale("log")
        marks += axis.plot(x, [100 / c for c in x], color=GREY, linestyle=":", linewidth=0.9, label="1/compression")
        marks += draw_lines(axis, results, facet, percent_kept)
        log_percent(axis.yaxis)
        axis.set_title(facet.title)
    label(axes, "compression", "MACs kept (% of dense)")
    legend(figure, [*pruner_handles(pruners(results)), *marks])
    caption = (
        "Multiply-accumulates that remain after pruning. On the dotted line they fall as the weights do; above it a "
        f"pruner takes its weights where they cost little. {seeds_note(results)}"
    )
    yield Drawing("macs", caption, figure)
