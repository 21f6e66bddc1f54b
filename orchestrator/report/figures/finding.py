"""Sentences and table rows of a measure, and helpers to write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from orchestrator.report.measured import Measured

Table = list[list[str]]  # rows; the first row of a whole table holds the heads


@dataclass(frozen=True)
class Finding:
    """Functions that return sentences and table rows for one panel; `title` and `heads` are the table's."""

    title: str
    heads: tuple[str, ...]
    rows: Callable[[list[Measured]], Table]
    sentences: Callable[[list[Measured]], list[str]]


def mean_and_deviation(values: Sequence[float], digits: int = 2) -> str:
    """Return `2.75 ± 0.10`, the mean over seeds and, with several, their standard deviation; "" without values."""
    if not values:
        return ""
    return f"{fmean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def metric_values(found: Sequence[Measured], name: str) -> list[float]:
    """Return the metric of each seed that has it."""
    return [one.row.metrics[name] for one in found if name in one.row.metrics]


def in_words(names: Sequence[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`, or "" without names."""
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


def layer_name(parameter: str, place: int) -> str:
    """Return the name of a weight's layer with its number as in figures: `3: features.6`, or `layer 3`."""
    name = parameter.removesuffix(".weight")
    return f"layer {place}" if name.isdigit() else f"{place}: {name}"
