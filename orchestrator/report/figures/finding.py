"""What a report says of a measure in words and numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from orchestrator.report.measured import Measured

Table = list[list[str]]  # rows; of a whole one the first are the heads


@dataclass(frozen=True)
class Finding:
    """Of one panel: sentences, and the rows of a table under `heads`. `title` is the table's."""

    title: str
    heads: tuple[str, ...]
    rows: Callable[[list[Measured]], Table]
    sentences: Callable[[list[Measured]], list[str]]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`2.75 ± 0.10`: the mean over seeds and their standard deviation, where there are several."""
    if not values:
        return ""
    return f"{fmean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def metric(found: Sequence[Measured], name: str) -> list[float]:
    """The metric of each seed that has it."""
    return [one.row.metrics[name] for one in found if name in one.row.metrics]


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; nothing of none."""
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


def layer_name(parameter: str, place: int) -> str:
    """The layer that a weight belongs to, counted as in figures: `3: features.6`, or `layer 3`."""
    name = parameter.removesuffix(".weight")
    return f"layer {place}" if name.isdigit() else f"{place}: {name}"
