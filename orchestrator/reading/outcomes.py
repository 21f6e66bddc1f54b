"""Compressions that nobody asked for: what came of a kappa is known once its trials have run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

from search_spaces import Cell

if TYPE_CHECKING:
    from orchestrator.reading.row import Row


def placed(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, with those pruned by kappa at the compression that came of it: the mean over finished seeds, to three
    significant digits, so that seeds are one point. Where no seed has finished it stays 0: not known.
    """
    reached: dict[str, list[float]] = {}
    for row in rows:
        if row.cell.kappa and row.status == "finished":
            reached.setdefault(_question(row.cell), []).append(row.metrics["model/compression"])
    means = {question: float(f"{fmean(found):.3g}") for question, found in reached.items()}
    return tuple(
        replace(row, cell=row.cell.model_copy(update={"compression": means[_question(row.cell)]}))
        if row.cell.kappa and _question(row.cell) in means
        else row
        for row in rows
    )


def _question(cell: Cell) -> str:
    """All but the seed, and what follows from it."""
    return cell.model_dump_json(exclude={"seed", "fingerprint"})
