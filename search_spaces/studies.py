"""Studies of a space that is searched: one for each cell of the grid, or one for all cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from search_spaces.catalog import Catalog
from search_spaces.errors import SpaceError, choose
from search_spaces.grid import Grid, Point
from search_spaces.search import Range
from search_spaces.space import FIELDS, Space
from search_spaces.trial import TRAINING, amount


@dataclass(frozen=True)
class Study:
    """Points of the grid that are searched together.

    With `per: cell`, points whose searches are the same, as those of all pruners are at 1x; with `per: sweep`, all.
    """

    name: str
    points: tuple[Point, ...]
    settings: int | None = None  # how many different settings there are to try; None: without end


def studies(space: Space, catalog: Catalog) -> tuple[Study, ...]:
    """Return the studies of `space`, in the order of the grid; none if nothing is searched.

    Raises:
        SpaceError: if the space asks for a search that is not possible, or a range has an end that is not allowed.
    """
    _require_sense(space, catalog)
    if space.search is None:
        return ()
    grid = Grid(space, catalog)
    if space.search.per == "sweep":
        points = tuple(grid.points())
        counts = [_settings(grid.ranges(point)) for point in points]  # raises SpaceError if an end is not allowed
        return (Study(space.name, points, None if None in counts else sum(filter(None, counts))),)
    alike: dict[str, list[Point]] = {}
    names: dict[str, str] = {}
    settings: dict[str, int | None] = {}
    for point in grid.points():
        if ranges := grid.ranges(point):
            cell, trial = grid.at(point, {key: found.ends[0] for key, found in ranges.items()})
            alike.setdefault(trial.fingerprint, []).append(point)
            settings[trial.fingerprint] = _settings(ranges)
            pruning = "dense" if trial.pruner == "dense" else f"{cell.pruner} {amount(cell)}"
            varied = [f"{key}={value}" for key, value in cell.settings.items()]
            names[trial.fingerprint] = " ".join([cell.dataset, cell.architecture, pruning, *varied])
    return tuple(Study(name, tuple(alike[key]), settings[key]) for key, name in names.items())


def _settings(ranges: Mapping[str, Range]) -> int | None:
    """Return how many combinations of the ranges' values there are; None if they are without end."""
    counts = [found.count for found in ranges.values()]
    return None if None in counts else math.prod(filter(None, counts))


def _require_sense(space: Space, catalog: Catalog) -> None:
    """Raise SpaceError for a search without a searched field, the reverse, and metrics that no trial reports."""
    searched = sorted({key for point in _choices(space) for key in space.ranges(point)})
    if searched and space.search is None:
        raise SpaceError(f"{searched[0]}: is searched, but there is no search; add search: {{trials: 20}}")
    if space.search is not None:
        for name in space.search.objective:
            choose("search: objective", name, catalog.objectives)
        if not searched and (space.search.per == "cell" or not space.varied):
            raise SpaceError("search: nothing is searched; write a mapping, as in lr: {low: 0.001, high: 0.1}")
        if len(space.axes.get("seed", ())) > 1:
            raise SpaceError(
                "seed: a search has one seed; search: {confirm_seeds: 3} runs the best settings with 3 new seeds"
            )
        for first in space.search.first:
            for key in first:
                choose("search: first", key, searched)
    stopping = space.early_stopping
    measures = [measure for measure in space.axes.get("measure", ()) if measure != TRAINING]
    if measures and (space.search or stopping):
        key = "search" if space.search else "early_stopping"
        raise SpaceError(f"{key}: measure {measures[0]} has no accuracy; only {TRAINING} has one")
    metrics = [*(space.search.objective if space.search else ()), *([stopping.metric] if stopping else ())]
    held_out = [metric for metric in metrics if metric.startswith("validation/")]
    if held_out and not all(space.axes.get("validation", (0,))):
        raise SpaceError(f"validation: {held_out[0]} needs held-out images, but none are held out; add validation: 0.1")
    for key in stopping.group if stopping else ():
        choose("early_stopping: group", key, FIELDS)


def _choices(space: Space) -> Iterable[Point]:
    """Yield every pair of a pruner and an architecture, whose settings may be searched."""
    for pruner in space.axes["pruner"]:
        for architecture in space.axes["architecture"]:
            yield {"pruner": pruner, "architecture": architecture}
