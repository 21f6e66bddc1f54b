"""What would decide the open comparisons with each leader: further seeds, their cost, and the command for them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.report.figures.finding import in_words
from orchestrator.report.ranking_text import standings
from orchestrator.report.spending_function import Looks
from orchestrator.report.statistics import ALPHA, points
from orchestrator.report.verdicts import PairVerdict, panel_verdicts
from orchestrator.results.lines import Facet, facets, rows_at
from orchestrator.results.results import Results
from orchestrator.results.store import public
from search_spaces import UntilDecided

POWER = 0.8  # the chance that the expected number of seeds decides, if the difference is as large as it looks
MOST = 20  # seeds in all: a difference that needs more is too small to be decided by training again
SHOWN = 3  # comparisons that a terminal names


@dataclass(frozen=True)
class OpenQuestion:
    """Comparison with a leader that no test decides yet."""

    facet: Facet
    pair: PairVerdict
    seeds: int | None  # expected number of seeds in all; None if more than `MOST`, or if the spread is not known
    hours: float | None  # of computing the further seeds of the two; None if no trial's time is known

    @property
    def further(self) -> int | None:
        """Return the expected number of further seeds."""
        return None if self.seeds is None else self.seeds - len(self.pair.seeds)

    @property
    def where(self) -> str:
        """Return the pair and its place."""
        return f"{self.pair.better} or {self.pair.worse} at {self.pair.compression:g}x on {self.facet.title}"


def open_questions(results: Results) -> list[OpenQuestion]:
    """Return the open comparisons of each leader with the others, the cheapest to decide first."""
    found, rule = [], results.until
    for facet in facets(results):
        known = panel_verdicts(results, facet)
        undecided = sum(not pair.ahead for pair in known.pairs)
        for standing in standings(results, facet):
            for other in standing.leaders[1:]:
                pair = known.between(standing.compression, standing.leaders[0], other)
                if (
                    pair is None
                    or pair.ahead
                    or (rule and pair.equal_within(rule.within, Looks(rule.least, rule.most)))
                ):
                    continue
                seeds = seeds_to_decide(pair, undecided)
                further = None if seeds is None else seeds - len(pair.seeds)
                found.append(OpenQuestion(facet, pair, seeds, _hours(results, facet, pair, further)))
    return sorted(found, key=lambda question: (question.seeds is None, question.seeds or 0, -question.pair.gap))


def seeds_to_decide(pair: PairVerdict, comparisons: int) -> int | None:
    """Return how many seeds in all decide a pair with a chance of `POWER`, if it is as far apart as it looks.

    `comparisons` is the number of pairs of the panel that are not decided, for which Holm's correction will still be
    made. The formula is the usual one for the mean of normal differences, (z_a + z_b)² s² / d². None if more than
    `MOST` seeds are needed, or if the spread of the difference is not known.
    """
    from scipy.special import ndtri

    tested = pair.over_seeds
    if tested is None or tested.apart.mean <= 0:
        return None
    variance = tested.apart.error**2 * tested.seeds
    z = -float(ndtri(ALPHA / max(1, comparisons) / 2)) + float(ndtri(POWER))
    needed = z * z * variance / tested.apart.mean**2
    return max(len(pair.seeds) + 1, math.ceil(needed)) if needed <= MOST else None


def _hours(results: Results, facet: Facet, pair: PairVerdict, further: int | None) -> float | None:
    """Return the hours of so many more trials of both pruners, each as long as theirs were."""
    spent = [
        [row.metrics["time/total_seconds"] for row in rows_at(results, facet, pruner, pair.compression)
         if row.status == "finished" and "time/total_seconds" in row.metrics]
        for pruner in (pair.better, pair.worse)
    ]  # fmt: skip
    if further is None or not all(spent):
        return None
    return further * sum(map(fmean, spent)) / 3600


def what_would_decide(results: Results, shown: int = 100) -> list[str]:
    """Return a few lines on the further seeds that would settle comparisons with a leader; none if all are settled."""
    found = open_questions(results)
    if not found:
        return []
    count = f"{len(found)} comparison{'s' * (len(found) > 1)} with a leader {'are' if len(found) > 1 else 'is'} open"
    if all(len(question.pair.seeds) < 2 for question in found):
        hint = f"{count}: with one seed the spread is not known"
        return [f"{hint}. Seeds only where they are needed: {command}" if (command := _command(results, [])) else hint]
    near = [question for question in found if question.seeds is not None]
    far = [question for question in found if question.seeds is None]
    said = [f"{count}."]
    for question in near[:shown]:
        hours = "" if question.hours is None else f", {_time(question.hours)} {_device(results)}"
        apart = points(question.pair.gap, question.pair.gap)
        said.append(
            f"{question.where}, {apart} apart: {question.further} more seeds if it is as large as it looks{hours}."
        )
    if len(near) > shown:
        said.append(f"{len(near) - shown} more are in the report.")
    if near and (command := _command(results, near)):
        said.append(f"To decide {'these' if near[1:] else 'this'}, run further seeds only where a comparison is open, "
                    f"{_cost(results, near)} if differences are as large as they look: {command}")  # fmt: skip
    if far:
        which = f": {in_words([question.where for question in far])}" if len(far) <= shown else ""
        said.append(f"{len(far)} would need more than {MOST} seeds in all, or have no known spread{which}.")
    return said


def _cost(results: Results, near: Sequence[OpenQuestion]) -> str:
    """Return the further trials of the two cells of each comparison, and their hours; a leader's cell counts once."""
    cells: dict[tuple[Facet, float, str], tuple[int, float]] = {}
    for question in near:
        if question.further is not None:
            each = (question.hours or 0.0) / 2 / question.further
            for pruner in (question.pair.better, question.pair.worse):
                place = question.facet, question.pair.compression, pruner
                cells[place] = max((question.further, each), cells.get(place, (0, 0.0)))
    trials, hours = sum(count for count, _ in cells.values()), sum(count * each for count, each in cells.values())
    return f"{trials} trials{f', {_time(hours)} {_device(results)},' if hours else ''}"


def _time(hours: float) -> str:
    return f"{hours:.2g} h" if hours >= 1 else f"{max(1, round(60 * hours))} min"


def _device(results: Results) -> str:
    return "of GPU" if any(row.tags.get("device") == "cuda" for row in results.rows) else "of computing"


def _command(results: Results, near: Sequence[OpenQuestion]) -> str:
    """Return the newest sweep's command with seeds until these comparisons are decided; "" if it cannot have them."""
    newest = next((sweep for sweep in results.sweeps if "command" in sweep.tags), None)
    if newest is None or {"search", "early_stopping"} & newest.plan.keys():
        return ""
    seeds = {row.cell.seed for row in results.rows}
    least = next(count for count in range(len(seeds) + 1) if count not in seeds)  # seeds from 0 on without a gap
    most = max(UntilDecided(until="decided").most, *(question.seeds or 0 for question in near), 0)
    rule = results.until
    settings = {
        "until": "decided",
        "least": rule.least if rule else max(2, least),
        "most": max(most, rule.most + 1) if rule else most,
        "within": rule.within if rule else None,
    }
    return until_decided(public(newest.tags["command"]), settings)


def until_decided(command: str, settings: Mapping[str, object]) -> str:
    """Return the command line of a sweep with these settings of `seed`, in place of its own seeds."""
    kept: list[str] = []
    for word in shlex.split(command):
        if word.startswith("seed=") and kept and kept[-1] == "--set":
            kept.pop()
        elif not word.startswith("--set=seed="):
            kept.append(word)
    said = ", ".join(f"{key}: {value}" for key, value in settings.items() if value is not None)
    return shlex.join(["python", "-m", "orchestrator.sweep", *kept, "--set", f"seed={{{said}}}"])
