"""The layers' mean squared weights against their inverse sizes, as training goes on."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize

from orchestrator.comparing.measured import by_pruner, measured
from orchestrator.figures.drawing import Drawing, file_name, label, panels, spread
from orchestrator.figures.layer_conservation import inverse_axes
from orchestrator.findings.imp_conservation import by_epoch
from orchestrator.reading.results import Results

MEASURE = "imp-conservation"
SHADES = LinearSegmentedColormap.from_list("training", ["#0080ff", "#ee82ee"])  # the paper's, from blue to pink
SHOWN = 25  # epochs


def draw(results: Results) -> Iterator[Drawing]:
    """One figure per panel and pruner, with an axis for each level, of the first seed."""
    for facet, found in measured(results, MEASURE).items():
        for pruner, some in by_pruner(found).items():
            levels = by_epoch(some[0])
            last = max(len(epochs) for epochs in levels.values()) - 1
            figure, axes = panels(len(levels), sharey=True)
            for axis, (level, epochs) in zip(axes, levels.items(), strict=True):
                for epoch, layers in spread(list(enumerate(epochs)), SHOWN):
                    alive = [(1 / size, square) for size, square in layers if size]
                    axis.plot(*zip(*alive, strict=True), color=SHADES(epoch / max(1, last)), linestyle="", marker="o")
                ends = [(1 / size, square) for size, square in epochs[-1] if size]
                inverse_axes(axis, [x for x, _ in ends], [y for _, y in ends])
                axis.set_title("dense" if level == 0 else f"level {level}")
            heights = [square for epochs in levels.values() for layers in epochs for _, square in layers if square]
            axes[0].set_ylim(0.6 * min(heights), 1.6 * max(heights))  # all levels have the same axis
            label(axes, "inverse layer size", "mean squared weight")
            figure.colorbar(ScalarMappable(Normalize(0, last), SHADES), ax=axes, label="epoch", shrink=0.7)
            figure.suptitle(f"{facet.title} · {pruner}", fontsize=9)
            caption = (
                f"{facet.title}, {pruner}: the mean squared weight of each layer against its inverse size, from the "
                "first epoch in blue to the last in pink; after each pruning, of the weights that are left. Along the "
                "dashed line, which goes through the last epoch, all layers have the same total."
            )
            yield Drawing(file_name(MEASURE, facet.title, pruner), caption, figure)
