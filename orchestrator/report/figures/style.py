"""Common parts of all figures: style, grid of panels, legend, ticks, file names, and saving."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any, TypeVar

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from orchestrator.colors import look

T = TypeVar("T")
NAME = 90  # most characters of a figure's name: with its ending it fits a file system and a line
# Inches in print: one panel fills a column, three the 6.9 inches of a two-column page. Font sizes are in points.
WIDTHS = {1: 3.4, 2: 5.6, 3: 6.9}
HEIGHT = 1.9
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444444",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 200,
    "svg.hashsalt": "pruning-sweeps",  # the same numbers give the same bytes
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
}
UNDATED: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


@dataclass(frozen=True)
class Drawing:
    """A figure with its caption."""

    name: str
    caption: str
    figure: Figure

    def save(self, kind: str) -> bytes:
        """Return the figure as `png`, `svg` or `pdf`."""
        buffer = io.BytesIO()
        with house_style():
            if self.figure.get_layout_engine() is not None:  # laid out once, not per format: half of the time
                self.figure.draw_without_rendering()
                self.figure.set_layout_engine(None)  # "none" leaves a place holder, for which each format draws twice
            self.figure.savefig(buffer, format=kind, metadata=UNDATED.get(kind))
        return buffer.getvalue()


def apology(name: str, error: Exception) -> Drawing:
    """Return a drawing that replaces the figure `name`, which `error` stopped."""
    figure = Figure(figsize=(WIDTHS[1], 0.5))
    figure.text(0.5, 0.5, "not drawn", ha="center", va="center", color="#444444")
    words = " ".join(str(error).split())
    return Drawing(
        name, f"This figure could not be drawn ({type(error).__name__}: {words}). The tables are complete.", figure
    )


@contextmanager
def house_style() -> Iterator[None]:
    """Set matplotlib's settings to the style of our figures, inside the context."""
    with matplotlib.rc_context(STYLE):
        yield


def panel_grid(count: int, sharey: bool) -> tuple[Figure, list[Axes]]:
    """Return a figure with a grid of panels, at most three in a row; the last row may be shorter."""
    rows, columns = _shape(count)
    figure = Figure(figsize=(WIDTHS[columns], HEIGHT * rows + 0.5), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharey=sharey, squeeze=False).flat)
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def _shape(count: int) -> tuple[int, int]:
    """Return rows and columns: as few rows as three columns allow, about equally full."""
    rows = ceil(count / max(WIDTHS))
    return rows, ceil(count / rows)


def label(axes: Sequence[Axes], x: str, y: str) -> None:
    """Name the axes where readers look: at the left edge, and where no panel follows below."""
    _, columns = _shape(len(axes))
    for axis in axes[::columns]:
        axis.set_ylabel(y)
    for axis in axes[-columns:]:
        axis.set_xlabel(x)


def log_ticks(axis: Axis) -> None:
    """Write a logarithmic axis in plain numbers: `100 50 20 10`, or decades only if there are more than two."""
    low, high = sorted(axis.get_view_interval())
    subs = (1,) if high / low > 100 else (1, 2, 5) if high / low > 6 else (1, 1.5, 2, 3, 4, 5, 6, 8)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(_short))
    axis.set_minor_locator(NullLocator())


def _short(value: float, _: int | None = None) -> str:
    """Return a short number: `0.2`, `50`, `10k`, `3M`."""
    return f"{value:g}" if value < 1000 else EngFormatter(sep="")(value)


def legend(figure: Figure, handles: Iterable[Artist], title: str = "") -> None:
    """Draw one legend for all panels above them, each label once, in as few rows as the width allows.

    The figure grows with it, so panels keep their height however many pruners are compared.
    """
    unique = list({handle.get_label(): handle for handle in handles}.values())
    wide = max(1.1, 0.5 + 0.055 * max(len(str(handle.get_label())) for handle in unique))  # inches of the longest
    rows = ceil(len(unique) / max(1, int(figure.get_figwidth() / wide)))
    figure.set_figheight(figure.get_figheight() + 0.18 * max(0, rows - 2))
    figure.legend(handles=unique, title=title, loc="outside upper center", ncols=ceil(len(unique) / rows),
                  columnspacing=1.4, handlelength=2.6, handletextpad=0.5)  # fmt: skip


def pruner_handles(pruners: Iterable[str]) -> list[Line2D]:
    """Return a legend entry per pruner."""
    return [Line2D([], [], label=pruner, **look(pruner).line) for pruner in pruners]


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of the items, evenly spaced, including the first and the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(index * (len(items) - 1) / (count - 1))] for index in range(count)]


def file_name(*parts: str) -> str:
    """Return a figure's file name from its parts: safe characters, at most `NAME`; longer names end in a hash.

    The hash is of all parts. A name that lost more than spaces and signs between words also gets one, because two
    facets must not share a file.
    """
    text = "-".join(parts)
    name = re.sub(r"[^A-Za-z0-9.=]+", "-", text).strip("-")
    if len(name) <= NAME and not re.search(r"[^\x20-\x7e·]", text):
        return name
    return f"{name[: NAME - 7].strip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def layer_ticks(axis: Axis, names: Sequence[str], most: int) -> None:
    """Write the names of layers 1, 2, 3, … on an axis, slanted; of more than `most` layers evenly many."""
    places = evenly_spaced(range(1, len(names) + 1), most)
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FixedFormatter([_short_name(names[place - 1]) for place in places]))
    axis.set_tick_params(rotation=40, labelsize=5.5, pad=1)
    for text in axis.get_ticklabels():
        text.set(ha="right", rotation_mode="anchor")


def _short_name(name: str, most: int = 16) -> str:
    """Return the end of a long name, which tells layers apart: `…3.conv2` of `features.stage3.conv2`."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def power_ticks(axis: Axis, logarithms: tuple[float, float]) -> None:
    """Write an axis of decimal logarithms in plain powers of ten; with fewer than two, in 1, 2 and 5 times powers."""
    low, high = logarithms
    whole = range(ceil(low), floor(high) + 1)
    step = max(1, ceil(len(whole) / 5))
    ticks: list[tuple[float, str]] = [(power, f"$10^{{{power}}}$") for power in whole[::step]]
    if len(ticks) < 2:
        parts = [(power + log10(part), part, power) for power in range(floor(low), ceil(high)) for part in (1, 2, 5)]
        ticks = [(place, _times(part, power)) for place, part, power in parts if low <= place <= high]
    axis.set_major_locator(FixedLocator([place for place, _ in ticks]))
    axis.set_major_formatter(FixedFormatter([text for _, text in ticks]))


def _times(part: int, power: int) -> str:
    if -3 <= power <= 3:
        return f"{part * 10**power:g}"
    return rf"${part}{{\cdot}}10^{{{power}}}$" if part > 1 else f"$10^{{{power}}}$"
