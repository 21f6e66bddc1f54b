"""Measure: an experiment that a trial makes in place of the usual training of the pruned network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from trainables.training.loop import StoppedError
from trainables.training.trainer import Trainer

TableRow = list[Any]
Save = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Found:
    """Result of a measure: a table, which becomes the artifact `measure.json`, and its most important numbers."""

    columns: tuple[str, ...]
    rows: list[TableRow]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Measure:
    """Function of a trial's `Trainer`, and what a space must know of it.

    `find(on, saved, save)` returns the result. `save` stores a state of plain values and tensors. The next attempt gets
    that state as `saved` and goes on from it; otherwise `saved` is empty. `find` raises StoppedError if `on.stop` asks
    for it.
    """

    find: Callable[[Trainer, Mapping[str, Any], Save], Found]
    summary: str
    paper: str
    ignores: frozenset[str] = frozenset()  # fields of a trial that do not change the result
    trains: bool = False  # if False, it looks at the weights that a network begins with
    check: Callable[[nn.Module], None] = lambda model: None  # raises ValueError for a network that it cannot measure


def pause(on: Trainer, rows: Sequence[TableRow], save: Save) -> None:
    """Save the rows found so far; raise StoppedError if the trial is asked to stop."""
    save({"rows": list(rows)})
    if on.stop():
        raise StoppedError
