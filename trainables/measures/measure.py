"""What a measure is: something that a trial finds out instead of how well the pruned network trains."""

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
    """A table, which becomes the artifact `measure.json`, and the few numbers that say the most."""

    columns: tuple[str, ...]
    rows: list[TableRow]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Measure:
    """A function of a trial's bench, and what a space must know of it.

    `find(on, saved, save)` returns what it found. `save` keeps a state of plain values and tensors, from which
    the next try goes on: it is then `saved`, else empty. Raises StoppedError where `on.stop` asks for it.
    """

    find: Callable[[Trainer, Mapping[str, Any], Save], Found]
    summary: str
    paper: str
    ignores: frozenset[str] = frozenset()  # fields of a trial that do not change what is found
    trains: bool = False  # if not, it looks at the weights that a network begins with
    check: Callable[[nn.Module], None] = lambda model: None  # raises ValueError for a network that it is not for


def pause(on: Trainer, rows: Sequence[TableRow], save: Save) -> None:
    """Keep the rows found so far, and stop here if that is asked for."""
    save({"rows": list(rows)})
    if on.stop():
        raise StoppedError
