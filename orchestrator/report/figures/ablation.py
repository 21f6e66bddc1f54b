"""Bar figure of Frankle's three ablations, which show if it matters which weights a layer keeps, or only how many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from orchestrator.colors import look
from orchestrator.report.figures.accuracy import top1
from orchestrator.report.figures.style import Drawing, evenly_spaced, file_name, label, legend, panel_grid
from orchestrator.results.lines import CurvePoint, Facet, facets, line, pruned, pruners
from orchestrator.results.results import Results

PANELS = 6
KINDS = ("none", "shuffle", "reinitialize", "invert")
HATCHES = {"none": "", "shuffle": "....", "reinitialize": "////", "invert": "xxxx"}  # colours mark pruners


def draw(results: Results) -> Iterator[Drawing]:
    """Yield a figure per facet in which ablations were compared, with a panel per compression."""
    for facet, kinds in _families(results).items():
        shown = evenly_spaced(pruned(results, kinds[0]), PANELS)
        if shown:
            yield _figure(results, facet, kinds, shown)


def _families(results: Results) -> dict[Facet, list[Facet]]:
    """Return facets that differ only in the ablation, by the facet of their common settings."""
    found: dict[Facet, list[Facet]] = {}
    for facet in facets(results):
        if ablation_of(facet):
            rest = tuple((key, value) for key, value in facet.settings if key != "ablation")
            found.setdefault(replace(facet, settings=rest), []).append(facet)
    return {
        common: sorted(some, key=lambda f: KINDS.index(ablation_of(f))) for common, some in found.items() if some[1:]
    }


def ablation_of(facet: Facet) -> str:
    """Return the ablation of a facet, or "" if it has none."""
    return dict(facet.settings).get("ablation", "")


def _figure(results: Results, facet: Facet, kinds: Sequence[Facet], shown: Sequence[float]) -> Drawing:
    figure, axes = panel_grid(len(shown), sharey=True)
    for axis, compression in zip(axes, shown, strict=True):
        _bars(axis, results, kinds, compression)
        axis.set_title(f"{compression:g}x")
    label(axes, "", "test accuracy (%)")
    keys = [
        Patch(facecolor="#dddddd", edgecolor="#444444", hatch=HATCHES[ablation_of(f)], label=_word(ablation_of(f)))
        for f in kinds
    ]
    legend(figure, keys, title=facet.title)
    caption = (
        f"{facet.title}: the masks as found; shuffled within each layer; on newly drawn weights; and inverted, keeping "
        "what scored lowest (Frankle 2021). Where shuffling costs nothing, only the layers' densities mattered. Bars "
        "are means over seeds, whiskers their standard deviation. Where early stopping chose the seeds there is no bar."
    )
    return Drawing(file_name("ablation", facet.title), caption, figure)


def _bars(axis: Axes, results: Results, kinds: Sequence[Facet], compression: float) -> None:
    names, width = pruners(results), 0.8 / len(kinds)
    for i, pruner in enumerate(names):
        for j, facet in enumerate(kinds):
            point = _point(results, facet, pruner, compression)
            if point is not None and point.values and not point.flatters:
                axis.bar(i + (j - (len(kinds) - 1) / 2) * width, point.mean, width, yerr=point.std,
                         color=look(pruner).color, alpha=0.75, edgecolor="white", hatch=HATCHES[ablation_of(facet)],
                         linewidth=0.4, error_kw={"elinewidth": 0.8})  # fmt: skip
    axis.set_xticks(
        range(len(names)), names, rotation=35 if len(names) > 2 else 0, ha="right" if names[2:] else "center"
    )
    axis.grid(visible=False, axis="x")
    axis.set_ylim(bottom=0)


def _point(results: Results, facet: Facet, pruner: str, compression: float) -> CurvePoint | None:
    return next((p for p in line(results, facet, pruner, top1) if p.compression == compression), None)


def _word(kind: str) -> str:
    return "as found" if kind == "none" else kind
