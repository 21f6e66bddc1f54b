"""Further seeds of a plan under `seed: {until: decided}`: cells and trials that may come after the first ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.results.lines import Facet, facet_of_cell
from search_spaces import Cell, SpaceError, Trial, UntilDecided


@dataclass(frozen=True)
class SeedPlan:
    """Cells that may get more seeds than the first ones, and the trials behind them."""

    rule: UntilDecided
    cells: tuple[Cell, ...]  # of the seeds after the first ones; all of them in panels where there is a comparison
    trials: tuple[Trial, ...]  # those that the first seeds do not have
    full: int  # trials of a grid in which every cell has the most seeds

    @property
    def words(self) -> str:
        """Return one line that says what may come."""
        return f"{self.rule.words}: up to {len(self.trials):,} further trials"

    def record(self) -> dict[str, Any]:
        """Return the settings as a report needs them."""
        return {**self.rule.model_dump(mode="json"), "full": self.full}


def split_seeds(
    rule: UntilDecided, cells: Sequence[Cell], trials: Sequence[Trial]
) -> tuple[tuple[Cell, ...], tuple[Trial, ...], SeedPlan]:
    """Return the cells and trials of the first seeds, and the plan of the further ones, given the whole grid.

    Raises:
        SpaceError: if there are no two pruners to compare.
    """
    compared = _compared(cells)
    if not compared:
        raise SpaceError("seed: until: decided has nothing to compare; it needs two pruners at a compression above 1x")
    first = tuple(cell for cell in cells if cell.seed < rule.least)
    further = tuple(cell for cell in cells if cell.seed >= rule.least and question_of(cell) in compared)
    begun, wanted = ({cell.fingerprint for cell in some} for some in (first, further))
    return (
        first,
        tuple(trial for trial in trials if trial.fingerprint in begun),
        SeedPlan(
            rule,
            further,
            tuple(trial for trial in trials if trial.fingerprint in wanted - begun),
            len(trials),
        ),
    )


def question_of(cell: Cell) -> tuple[Facet, float]:
    """Return the panel and the compression of a cell: pruners that share them are compared."""
    return facet_of_cell(cell), cell.compression


def _compared(cells: Iterable[Cell]) -> set[tuple[Facet, float]]:
    """Return the questions with two pruners. At 1x there is none, nor where kappa leaves the compression open."""
    found: dict[tuple[Facet, float], set[str]] = {}
    for cell in cells:
        if cell.compression > 1:
            found.setdefault(question_of(cell), set()).add(cell.pruner)
    return {question for question, pruners in found.items() if len(pruners) > 1}
