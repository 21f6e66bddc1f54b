"""Mean squared weights of layers against their inverse sizes, over the course of training."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize

from orchestrator.report.figures.finding import Finding
from orchestrator.report.figures.layer_conservation import inverse_axes
from orchestrator.report.figures.style import Drawing, evenly_spaced, file_name, label, panel_grid
from orchestrator.report.measured import Measured, seeds_by_pruner, tables_by_panel
from orchestrator.results.results import Results
from trainables.inverse_size_fit import inverse

Layers = list[tuple[float, float]]  # a layer's number of kept weights, and their mean square


def sentences(found: list[Measured]) -> list[str]:
    """Return a sentence per level of the first seed, with the slope at its start and its end."""
    said = []
    for level, epochs in by_epoch(found[0]).items():
        (start, _), (end, correlation) = fit(epochs[0]), fit(epochs[-1])
        what = "training the dense network" if level == 0 else f"level {level}"
        said.append(
            f"Over {what}, {len(epochs) - 1} epochs: the layers' mean squared weight follows their inverse size to "
            f"the power of {start:.2f} at the start and {end:.2f} at the end (correlation {correlation:.2f}); "
            "with 1, all layers have the same total."
        )
    return said


def rows(found: list[Measured]) -> list[list[str]]:
    """Return a table row per pruner, seed, level and epoch."""
    return [
        [one.pruner, str(one.row.cell.seed), str(level), str(epoch), *(f"{value:.4f}" for value in fit(layers))]
        for one in found
        for level, epochs in by_epoch(one).items()
        for epoch, layers in enumerate(epochs)
    ]


def by_epoch(one: Measured) -> dict[int, list[Layers]]:
    """Return, for each level, the layers before its first epoch and after each epoch."""
    found: dict[int, list[Layers]] = {}
    for level, epoch, weights, square in _entries(one):
        epochs = found.setdefault(level, [])
        if epoch == len(epochs):
            epochs.append([])
        epochs[epoch].append((weights, square))
    return found


def _entries(one: Measured) -> Iterator[tuple[int, int, float, float]]:
    columns = one.columns
    return zip(columns["level"], columns["epoch"], columns["weights"], columns["mean_square"], strict=True)


def fit(layers: Layers) -> tuple[float, float]:
    """Return slope and correlation of the logarithms; NaN where the fit gives none."""
    known = [(size, square) for size, square in layers if size]
    found = inverse([size for size, _ in known], [square for _, square in known])
    nan = float("nan")
    return found.get("conservation/slope", nan), found.get("conservation/correlation", nan)


IMP_CONSERVATION = Finding(
    title="Mean squared weight of layers against their inverse size, both logarithmic",
    heads=("pruner", "seed", "level", "epoch", "slope", "correlation"),
    rows=rows,
    sentences=sentences,
)


MEASURE = "imp-conservation"
SHADES = LinearSegmentedColormap.from_list("training", ["#0080ff", "#ee82ee"])  # the paper's, from blue to pink
SHOWN = 25  # most epochs to draw


def draw(results: Results) -> Iterator[Drawing]:
    """Yield one figure per panel and pruner, with an axis for each level, of the first seed."""
    for facet, found in tables_by_panel(results, MEASURE).items():
        for pruner, some in seeds_by_pruner(found).items():
            levels = by_epoch(some[0])
            last = max(len(epochs) for epochs in levels.values()) - 1
            figure, axes = panel_grid(len(levels), sharey=True)
            for axis, (level, epochs) in zip(axes, levels.items(), strict=True):
                for epoch, layers in evenly_spaced(list(enumerate(epochs)), SHOWN):
                    alive = [(1 / size, square) for size, square in layers if size]
                    axis.plot(*zip(*alive, strict=True), color=SHADES(epoch / max(1, last)), linestyle="", marker="o")
                ends = [(1 / size, square) for size, square in epochs[-1] if size]
                inverse_axes(axis, [x for x, _ in ends], [y for _, y in ends])
                axis.set_title("dense" if level == 0 else f"level {level}")
            heights = [square for epochs in levels.values() for layers in epochs for _, square in layers if square]
            axes[0].set_ylim(0.6 * min(heights), 1.6 * max(heights))  # the axis is shared by all levels
            label(axes, "inverse layer size", "mean squared weight")
            figure.colorbar(ScalarMappable(Normalize(0, last), SHADES), ax=axes, label="epoch", shrink=0.7)
            figure.suptitle(f"{facet.title} · {pruner}", fontsize=9)
            caption = (
                f"{facet.title}, {pruner}: the mean squared weight of each layer against its inverse size, from the "
                "first epoch in blue to the last in pink; after each pruning, of the kept weights. Along the "
                "dashed line, which goes through the last epoch, all layers have the same total."
            )
            yield Drawing(file_name(MEASURE, facet.title, pruner), caption, figure)
