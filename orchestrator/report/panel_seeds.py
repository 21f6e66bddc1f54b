"""Seeds of a panel's cells under `seed: {until: decided}`: which come next, as a pure function of the results.

The panel is looked at when all cells have their seeds so far. At each compression the pruner with the highest mean is
compared with every other. A comparison is over when a test over seeds decides it, when the two are shown to be equal
within the margin, or when both have the most seeds. The cells of the other comparisons get one more seed, and then the
panel is looked at again. So the order in which trials end, and any kill between them, changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from orchestrator.report.spending_function import Looks
from orchestrator.report.verdicts import PairVerdict, PanelTrial, PanelVerdicts, verdicts
from search_spaces import UntilDecided

PanelPlace = tuple[float, str]  # compression and pruner
Ending = Literal["decided", "equal", "open"]


@dataclass(frozen=True)
class LeaderQuestion:
    """Comparison of the pruner with the highest mean at a compression with another one, and how it stands."""

    compression: float
    leader: str
    other: str
    ending: Ending
    p: float  # corrected; 1 without a test

    @property
    def places(self) -> tuple[PanelPlace, PanelPlace]:
        """Return the two cells."""
        return (self.compression, self.leader), (self.compression, self.other)


def looks_of(rule: UntilDecided) -> Looks:
    """Return the looks at each comparison under a rule."""
    return Looks(rule.least, rule.most)


def leader_questions(trials: Collection[PanelTrial], found: PanelVerdicts, rule: UntilDecided) -> list[LeaderQuestion]:
    """Return the comparisons with the leader at each compression, given the finished trials and their verdicts."""
    cells: dict[float, dict[str, list[float]]] = {}
    for trial in trials:
        cells.setdefault(trial.compression, {}).setdefault(trial.pruner, []).append(trial.top1)
    questions = []
    for compression, by_pruner in sorted(cells.items()):
        order = sorted(by_pruner, key=lambda pruner: (-fmean(by_pruner[pruner]), pruner))
        for other in order[1:]:
            pair = found.between(compression, order[0], other)
            p = pair.over_seeds.corrected if pair and pair.over_seeds else 1.0
            questions.append(LeaderQuestion(compression, order[0], other, _ending(pair, order[0], rule), p))
    return questions


def _ending(pair: PairVerdict | None, leader: str, rule: UntilDecided) -> Ending:
    """Return how the comparison of the leader by means with another pruner, over their common seeds, has ended."""
    if pair is None:
        return "open"
    if (
        pair.ahead and pair.better == leader
    ):  # seeds cannot show more than that; whether it leads is up to the test images
        return "decided"
    return "equal" if pair.equal_within(rule.within, looks_of(rule)) else "open"


class PanelSeeds:
    """Results of one panel so far, and the trials that it needs next."""

    def __init__(self, places: Iterable[PanelPlace], rule: UntilDecided, images: int = 0) -> None:
        """Begin with the `least` seeds of each place; `images` is the size of the test set, 0 if it is not known."""
        self.asked = dict.fromkeys(places, rule.least)
        self.questions: list[LeaderQuestion] = []  # of the last look
        self._rule, self._images = rule, images
        self._known: dict[PanelPlace, dict[int, float | None]] = {place: {} for place in self.asked}
        self._promise: Mapping[PanelPlace, float] = {}

    def add(self, place: PanelPlace, seed: int, top1: float | None) -> None:
        """Add the result of a trial; None if it has failed, so that its cell has one seed less."""
        self._known[place][seed] = top1

    def wanted(self) -> list[tuple[float, PanelPlace, int]]:
        """Return the trials without a result that the panel needs now, as (p-value, place, seed); [] if it is over.

        The most promising comparisons have the lowest p-value.
        """
        while True:
            missing = [
                (self._promise.get(place, 1.0), place, seed)
                for place, count in self.asked.items()
                for seed in range(count)
                if seed not in self._known[place]
            ]
            if missing or not self._look():
                return sorted(missing)

    def _look(self) -> bool:
        """Judge the comparisons by all seeds that were asked for; return True if some cell gets another one."""
        trials = [
            PanelTrial(pruner, compression, seed, top1)
            for (compression, pruner), count in self.asked.items()
            for seed in range(count)
            if (top1 := self._known[compression, pruner][seed]) is not None
        ]
        found = verdicts(trials, looks_of(self._rule), self._images)
        self.questions = leader_questions(trials, found, self._rule)
        more: dict[PanelPlace, int] = {}
        promise: dict[PanelPlace, float] = {}
        for question in self.questions:
            if question.ending != "open":
                continue
            needed = min(self._rule.most, 1 + min(self.asked[place] for place in question.places))
            for place in question.places:
                if self.asked[place] < needed:
                    more[place] = max(needed, more.get(place, 0))
                    promise[place] = min(question.p, promise.get(place, 1.0))
        self.asked |= more
        self._promise = promise
        return bool(more)
