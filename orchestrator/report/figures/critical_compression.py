"""Layer collapse: what each layer keeps as compression grows, and the largest compression of each pruner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log10

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from orchestrator.colors import GREY, look
from orchestrator.report.figures.finding import Finding, layer_name, mean_and_deviation, metric_values
from orchestrator.report.figures.style import Drawing, file_name, label, log_ticks, panel_grid
from orchestrator.report.measured import Measured, seeds_by_pruner, tables_by_panel
from orchestrator.results.lines import Facet
from orchestrator.results.results import Results

CRITICAL, MAXIMUM = "critical/compression", "critical/maximum"


def sentences(found: list[Measured]) -> list[str]:
    """Return sentences on the pruners, in descending order of their critical compression."""
    pruners = seeds_by_pruner(found)
    reach = {pruner: exponents(some, CRITICAL) for pruner, some in pruners.items()}
    order = sorted(reach, key=lambda pruner: -sum(reach[pruner]) / len(reach[pruner]))
    most = exponents(found, MAXIMUM)[0]
    reached = ", ".join(f"10^{mean_and_deviation(reach[pruner])} for {pruner}" for pruner in order)
    said = [
        f"The largest compression before a layer is empty is {reached}; "
        f"no pruner can exceed 10^{most:.2f}, one weight per layer."
    ]
    beyond = {
        p: intact(some)
        for p, some in pruners.items()
        if mean_and_deviation(intact(some)) != mean_and_deviation(reach[p])
    }
    if beyond:
        later = ", ".join(f"10^{mean_and_deviation(values)} for {pruner}" for pruner, values in beyond.items())
        said.append(
            f"A pruner may empty a layer at one compression and none at a higher one: no layer is empty at {later}."
        )
    first = {pruner: layers for pruner in order if (layers := emptied(pruners[pruner][0]))}
    if first:
        said.append(
            f"The first layers to be empty: {', '.join(f'{layers} ({pruner})' for pruner, layers in first.items())}."
        )
    return said


def rows(found: list[Measured]) -> list[list[str]]:
    """Return a table row per pruner."""
    return [
        [
            pruner,
            mean_and_deviation(exponents(some, CRITICAL)),
            f"{10 ** (sum(exponents(some, CRITICAL)) / len(some)):.4g}",
            mean_and_deviation(intact(some)),
            f"{exponents(some, MAXIMUM)[0]:.2f}",
            emptied(some[0]) or "none",
            str(len(some)),
        ]
        for pruner, some in seeds_by_pruner(found).items()
    ]


def exponents(found: list[Measured], name: str) -> list[float]:
    """Return decimal logarithms of a metric: compressions are steps of 10^0.25."""
    return [log10(value) for value in metric_values(found, name)]


def intact(found: list[Measured]) -> list[float]:
    """Return the log10 of the largest compression without an empty layer, even if layers are empty below it.

    The authors count so.
    """
    tables = [zip(one.columns["compression"], one.columns["kept"], strict=True) for one in found]
    kept: list[dict[float, int]] = [{} for _ in found]
    for table, least in zip(tables, kept, strict=True):
        for compression, count in table:
            least[compression] = min(count, least.get(compression, count))
    return [log10(max(compression for compression, count in least.items() if count)) for least in kept]


def emptied(one: Measured) -> str:
    """Return the layers that are empty at the first compression at which any is; "" if none ever is."""
    table = zip(one.columns["compression"], one.columns["layer"], one.columns["kept"], strict=True)
    empty = [(compression, layer) for compression, layer, kept in table if kept == 0]
    places = {layer: place for place, layer in enumerate(dict.fromkeys(one.columns["layer"]), 1)}
    return ", ".join(layer_name(layer, places[layer]) for compression, layer in empty if compression == empty[0][0])


CRITICAL_COMPRESSION = Finding(
    title="Critical compression: the largest before a layer is empty",
    heads=(
        "pruner",
        "critical, 10^",
        "critical compression",
        "last intact, 10^",
        "possible, 10^",
        "first empty layer",
        "seeds",
    ),
    rows=rows,
    sentences=sentences,
)


MEASURE = "critical-compression"
Profiles = Mapping[float, list[float]]  # compression -> the share that each layer keeps


def draw(results: Results) -> Iterator[Drawing]:
    """Yield a figure of critical compressions with all panels, then one of the layers for each panel."""
    found = tables_by_panel(results, MEASURE)
    if not found:
        return
    figure, axes = panel_grid(len(found), sharey=False)
    for axis, (facet, all_) in zip(axes, found.items(), strict=True):
        _reach(axis, all_)
        axis.set_title(facet.title)
    label(axes, "critical compression", "")
    caption = (
        "Critical compression: the largest before a layer has no weight left. A point is a seed, the dashed line the "
        "largest possible compression: one weight per layer."
    )
    yield Drawing(MEASURE, caption, figure)
    for facet, all_ in found.items():
        yield _layers(facet, {pruner: some[0] for pruner, some in seeds_by_pruner(all_).items()})


def _reach(axis: Axes, found: list[Measured]) -> None:
    pruners = seeds_by_pruner(found)
    for y, (pruner, some) in enumerate(pruners.items()):
        reached = [one.row.metrics[CRITICAL] for one in some]
        style = look(pruner)
        axis.plot([1, max(reached)], [y, y], color=style.color, linewidth=5, alpha=0.25, solid_capstyle="butt")
        axis.plot(reached, [y] * len(reached), color=style.color, marker=style.marker, linestyle="")
    most = found[0].row.metrics[MAXIMUM]
    axis.axvline(most, color=GREY, linestyle=(0, (4, 2)), linewidth=0.9)
    axis.set_xscale("log")
    axis.set_xlim(1, 1.6 * most)
    log_ticks(axis.xaxis)
    axis.set_yticks(range(len(pruners)), list(pruners))
    axis.set_ylim(len(pruners) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")


def _layers(facet: Facet, found: Mapping[str, Measured]) -> Drawing:
    profiles = {pruner: _profiles(one) for pruner, one in found.items()}
    some = next(iter(found.values())).columns
    names = [layer_name(name, place) for place, name in enumerate(dict.fromkeys(some["layer"]), 1)]
    scale = LogNorm(1, max(some["compression"]))
    shades = matplotlib.colormaps["viridis_r"]
    figure, axes = panel_grid(len(found), sharey=True)
    for axis, (pruner, lines) in zip(axes, profiles.items(), strict=True):
        for compression, shares in list(lines.items())[::2]:  # half as many as were measured, as in the paper
            whole = all(shares)
            axis.plot(
                range(1, len(shares) + 1),
                [share or float("nan") for share in shares],
                color=shades(scale(compression)),
                linestyle="-" if whole else ":",
                linewidth=1.1 if whole else 0.9,
                marker="" if whole else ".",
            )
        axis.set_yscale("log")
        log_ticks(axis.yaxis)
        axis.set_xlim(0.5, len(names) + 0.5)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.set_title(pruner, color=look(pruner).color)
    label(axes, "layer", "fraction remaining")
    figure.colorbar(ScalarMappable(scale, shades), ax=axes, label="compression", shrink=0.7)
    figure.suptitle(facet.title, fontsize=9)
    caption = (
        f"{facet.title}: the share of its weights that each layer keeps, from {names[0]} on the left to {names[-1]}; "
        "the darker, the more compressed, in steps of 10^0.5. Dotted: some layer is empty, and the line leaves it out. "
        "First seed."
    )
    return Drawing(file_name(f"{MEASURE}-layers", facet.title), caption, figure)


def _profiles(one: Measured) -> Profiles:
    found: dict[float, list[float]] = {}
    columns = one.columns
    for compression, weights, kept in zip(columns["compression"], columns["weights"], columns["kept"], strict=True):
        found.setdefault(compression, []).append(kept / weights)
    return found
