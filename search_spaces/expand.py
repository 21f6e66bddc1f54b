"""From a space to its cells and trials: the grid, each point reduced to what determines its result."""

from __future__ import annotations

from search_spaces.catalog import Catalog
from search_spaces.grid import Grid
from search_spaces.space import Space
from search_spaces.trial import Cell, Trial


def expand(space: Space, catalog: Catalog) -> tuple[tuple[Cell, ...], tuple[Trial, ...]]:
    """All cells of the grid in the order of the space, and the unique trials behind them.

    Where something is searched there is no one trial: those points belong to the `studies` of the space.

    Raises:
        SpaceError: if a name is not in the catalog or a pruner does not have an option.
    """
    grid = Grid(space, catalog)
    cells: dict[str, Cell] = {}
    trials: dict[str, Trial] = {}
    for point in grid.points():
        if space.search is not None and (space.search.per == "sweep" or grid.ranges(point)):
            continue
        cell, trial = grid.at(point)
        trials.setdefault(trial.fingerprint, trial)
        cells.setdefault(cell.model_dump_json(), cell)  # a pruner with its own kappa has one, not one per compression
    return tuple(cells.values()), tuple(trials.values())
