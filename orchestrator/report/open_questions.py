"""What would decide the open comparisons with each leader: further seeds, their cost, and the command for them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.report.figures.finding import in_words
from orchestrator.report.ranking_text import standings
from orchestrator.report.statistics import ALPHA, points
from orchestrator.report.verdicts import PairVerdict, panel_verdicts
from orchestrator.results.lines import Facet, facets, rows_at
from orchestrator.results.results import Results
from orchestrator.results.store import public

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
    found = []
    for facet in facets(results):
        known = panel_verdicts(results, facet)
        undecided = sum(not pair.leads for pair in known.pairs)
        for standing in standings(results, facet):
            for other in standing.leaders[1:]:
                pair = known.between(standing.compression, standing.leaders[0], other)
                if pair is None or pair.leads:
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
    """Return what would decide the open comparisons with leaders, in a few lines; none if nothing is open."""
    found = open_questions(results)
    if not found:
        return []
    count = f"{len(found)} comparison{'s' * (len(found) > 1)} with a leader {'are' if len(found) > 1 else 'is'} open"
    if all(len(question.pair.seeds) < 2 for question in found):
        seeds = sorted({row.cell.seed for row in results.rows})
        hint = f"{count}: with one seed the spread is not known. Three seeds are a start"
        return (
            [f"{hint}, {_cost(results, 3 - len(seeds))}: {_command(results, seeds, 3)}"] if len(seeds) < 3 else [hint]
        )
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
    if near:
        seeds = sorted({row.cell.seed for row in results.rows})
        most = max(len(seeds) + 1, *(question.seeds or 0 for question in near))
        said.append(f"To decide {'these' if near[1:] else 'this'}, run {_cost(results, most - len(seeds))}: "
                    f"{_command(results, seeds, most)}")  # fmt: skip
    if far:
        which = f": {in_words([question.where for question in far])}" if len(far) <= shown else ""
        said.append(f"{len(far)} would need more than {MOST} seeds in all, or have no known spread{which}.")
    return said


def _cost(results: Results, further: int) -> str:
    """Return the cost of so many more seeds of the whole space."""
    spent = {row.run_id: row.metrics.get("time/total_seconds", 0.0) for row in results.rows if row.status == "finished"}
    seeds = {row.cell.seed for row in results.rows if row.status == "finished"}
    hours = further * sum(spent.values()) / len(seeds) / 3600
    return f"{further} more seed{'s' * (further > 1)} of all cells, {_time(hours)} {_device(results)}"


def _time(hours: float) -> str:
    return f"{hours:.2g} h" if hours >= 1 else f"{max(1, round(60 * hours))} min"


def _device(results: Results) -> str:
    return "of GPU" if any(row.tags.get("device") == "cuda" for row in results.rows) else "of computing"


def _command(results: Results, seeds: Sequence[int], count: int) -> str:
    """Return the newest sweep's command with as many seeds; only the new trials run."""
    return more_seeds(public(_newest(results)), seeds, count)


def _newest(results: Results) -> str:
    return next((sweep.tags["command"] for sweep in results.sweeps if "command" in sweep.tags), "SPACE")


def more_seeds(command: str, seeds: Iterable[int], count: int) -> str:
    """Return the command line of a sweep with `seeds` and the next whole numbers, `count` in all."""
    wanted = sorted(set(seeds))
    while len(wanted) < count:
        wanted.append(next(number for number in range(len(wanted) + 1) if number not in wanted))
    kept: list[str] = []
    for word in shlex.split(command):
        if word.startswith("seed=") and kept and kept[-1] == "--set":
            kept.pop()
        elif not word.startswith("--set=seed="):
            kept.append(word)
    return shlex.join(["python", "-m", "orchestrator.sweep", *kept, "--set", f"seed={sorted(wanted)}"])
