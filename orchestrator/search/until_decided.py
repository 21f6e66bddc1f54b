"""Seeds until each comparison with a leader is decided: the trials of a sweep with `seed: {until: decided}`.

Which trials come is a function of the results of the trials before (`orchestrator.report.panel_seeds`). So nothing is
lost with a driver that is killed: the next one derives the same from the finished trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.planning.plan import Plan
from orchestrator.report.panel_seeds import PanelPlace, PanelSeeds
from orchestrator.results.lines import Facet, facet_of_cell
from orchestrator.search.optuna_study import Result
from search_spaces import Cell, Trial
from trainables.datasets import lookup

ACCURACY = "final/top1"
SeedPlace = tuple[Facet, PanelPlace, int]  # panel, compression and pruner, seed


class SeedsUntilDecided:
    """Further seeds of a sweep: which trials are wanted now, given the results so far."""

    def __init__(self, plan: Plan, known: Mapping[str, Result], result: Callable[[str], Result | None]) -> None:
        """Derive the state from the metrics of the finished trials, by fingerprint.

        `result` returns those of a trial that has ended since; None if it has not finished.
        """
        assert plan.seeds is not None
        self.rule, self._plan, self._result = plan.seeds.rule, plan, result
        self._known: dict[str, float | None] = {key: _accuracy(metrics) for key, metrics in known.items()}
        self._trials = {trial.fingerprint: trial for trial in (*plan.trials, *plan.seeds.trials)}
        self._first = {trial.fingerprint for trial in plan.trials}
        self._cells: dict[SeedPlace, Cell] = {}
        self._handed: set[str] = set()
        compared = {(facet_of_cell(cell), (cell.compression, cell.pruner)) for cell in plan.seeds.cells}
        compared = compared or {(facet_of_cell(c), (c.compression, c.pruner)) for c in plan.cells if c.compression > 1}
        images: dict[Facet, int] = {}
        for cell in (*plan.cells, *plan.seeds.cells):
            place = facet_of_cell(cell), (cell.compression, cell.pruner)
            if place in compared:
                self._cells[*place, cell.seed] = cell
                if place[0] not in images:
                    images[place[0]] = lookup(self._trials[cell.fingerprint].dataset).test_size
        self._panels = {
            facet: PanelSeeds(dict.fromkeys(at for where, at, _ in self._cells if where == facet), self.rule, size)
            for facet, size in images.items()
        }
        self._queue: list[tuple[float, str]] = []  # wanted further trials that were not handed out, by fingerprint
        self._open = True
        self._advance()

    @property
    def asked(self) -> Iterator[Trial]:
        """All further trials that were wanted so far, whether they are done or not."""
        fingerprints = {
            cell.fingerprint
            for (facet, place, seed), cell in self._cells.items()
            if seed < self._panels[facet].asked[place]
        }
        return (self._trials[fingerprint] for fingerprint in sorted(fingerprints - self._first))

    @property
    def over(self) -> bool:
        """True if all comparisons have ended."""
        return not self._open

    @property
    def words(self) -> str:
        """Return how many comparisons with a leader are open; "" before the first look."""
        questions = [question for panel in self._panels.values() for question in panel.questions]
        open_ = sum(question.ending == "open" for question in questions)
        return f"{open_} of {len(questions)} comparisons open" if questions else ""

    def next(self) -> Trial | None:
        """Return the next trial to run, of the most promising comparison first; None if results are waited for."""
        if not self._queue:
            return None
        _, fingerprint = self._queue.pop(0)
        self._handed.add(fingerprint)
        return self._trials[fingerprint]

    def knows(self, fingerprint: str) -> bool:
        """Return True if the trial has a result that can be read here."""
        return self._result(fingerprint) is not None

    def ended(self, fingerprint: str) -> None:
        """Record that a trial is over. Without a result it has failed: its cell has one seed less.

        The next run of the sweep tries it again, and may come to other answers with its result.
        """
        if fingerprint in self._trials and self._known.get(fingerprint) is None:
            metrics = self._result(fingerprint)
            self._known[fingerprint] = _accuracy(metrics) if metrics is not None else None
            self._advance()

    def record(self, record: Mapping[str, Any], done: frozenset[str]) -> dict[str, Any]:
        """Return the plan's record with the further cells that were wanted, and those that are done anyway."""
        assert self._plan.seeds is not None
        kept = {trial.fingerprint: trial for trial in self.asked}
        kept |= {trial.fingerprint: trial for trial in self._plan.seeds.trials if trial.fingerprint in done}
        cells = [cell for cell in self._plan.seeds.cells if cell.fingerprint in kept]
        return {
            **record,
            "cells": [*record["cells"], *(cell.model_dump(mode="json") for cell in cells)],
            "trials": {**record["trials"], **{key: trial.model_dump(mode="json") for key, trial in kept.items()}},
        }

    def _advance(self) -> None:
        """Pass results on to the panels, as far as they lead; queue what the panels want then."""
        queue: dict[str, float] = {}
        self._open = False
        for facet, panel in self._panels.items():
            wanted = self._served(facet, panel)
            self._open |= bool(wanted)
            for promise, place, seed in wanted:
                fingerprint = self._cells[facet, place, seed].fingerprint
                if fingerprint not in self._first | self._handed:
                    queue[fingerprint] = min(promise, queue.get(fingerprint, 1.0))
        self._queue = sorted((promise, fingerprint) for fingerprint, promise in queue.items())

    def _served(self, facet: Facet, panel: PanelSeeds) -> list[tuple[float, PanelPlace, int]]:
        """Give a panel the results that it wants, until it wants only those that there are not yet; return these."""
        while wanted := panel.wanted():
            served = 0
            for _, place, seed in wanted:
                fingerprint = self._cells[facet, place, seed].fingerprint
                if fingerprint in self._known:
                    panel.add(place, seed, self._known[fingerprint])
                    served += 1
            if not served:
                break
        return wanted


def _accuracy(metrics: Result) -> float | None:
    """Return the accuracy by which pruners are compared; None if it is missing or no number."""
    value = metrics.get(ACCURACY)
    return value if value is not None and math.isfinite(value) else None
