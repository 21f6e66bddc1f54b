"""Ranking in words: which pruner leads at which compression, by how much, and by which test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

from orchestrator.report.figures.finding import in_words
from orchestrator.report.statistics import points
from orchestrator.report.verdicts import PairVerdict, PanelVerdicts, panel_verdicts
from orchestrator.results.lines import TOP1, CurvePoint, Facet, compressions, dense, facet_of, flattering, line, pruners
from orchestrator.results.results import Results
from search_spaces.density import MANY_TIED

SURVIVORS = (
    "Some seeds of {} points were stopped early. The mean of their other seeds is too optimistic, so the "
    "statements here leave these points out. Without early_stopping the same command continues the stopped trials."
)


@dataclass(frozen=True)
class Ranking:
    """Ranking at one compression of a facet, highest mean first.

    `leaders` are the best and all that no test tells apart from it, with everything between them: a lower mean is never
    among them where a higher one is not.
    """

    compression: float
    leaders: tuple[str, ...]
    missing: tuple[str, ...]  # pruners without a result that counts
    best: CurvePoint
    next: str  # the first below the leaders; empty if there is none, so that nobody leads
    verdict: PairVerdict | None  # on the best and `next`
    broken: tuple[str, ...]  # leaders that have a collapsed network
    only_here: tuple[PairVerdict, ...]  # pairs of the best with leaders that it is ahead of on these images alone

    @property
    def lead(self) -> float | None:
        """Return the lead of the best over `next`, as a fraction; None if nobody leads."""
        return self.verdict.gap if self.verdict else None

    @property
    def group(self) -> tuple[list[str], tuple[str, ...], str, list[str]]:
        """Return a key: neighbouring compressions with the same key share one sentence."""
        pairs = [f"{pair.better} {pair.worse}" for pair in self.only_here]
        return sorted(self.leaders), self.missing, self.only_here[0].better if pairs else "", sorted(pairs)


def sentences(results: Results, facet: Facet) -> list[str]:
    """Return the statements that the results of a facet support; the last one says how they were tested."""
    said = []
    unpruned, known = dense(results, facet, TOP1), panel_verdicts(results, facet)
    if unpruned is not None:
        said.append(f"The dense network reaches {_percent(unpruned, known)}.")
    ranked = list(standings(results, facet))
    for _, group in groupby(ranked, key=lambda standing: standing.group):
        said.append(_lead(list(group)))
    if unpruned is not None and ranked:
        said.append(_beside_dense(unpruned, ranked))
    if gone := _collapsed(results, facet):
        said.append(f"No path of kept weights leads from input to output: {'; '.join(gone)}.")
    if tied := _tied(results, facet):
        said.append(
            f"More than {100 * MANY_TIED:g} % of the kept weights were kept only because of their position, since "
            f"their scores tie with those of pruned ones: {'; '.join(tied)}."
        )
    if missing := sum(facet_of(row) == facet for row in results.missing):
        said.append(f"Cells without a result, left out here and listed under Missing results: {missing}.")
    if ranked and (tests := footer(results, facet)):
        said.append(tests)
    return said if unpruned or ranked else ["Nothing to compare yet.", *said]


def footer(results: Results, facet: Facet) -> str:
    """Return which tests the verdicts of a panel rest on, over how many seeds and images; "" if none was made."""
    known = panel_verdicts(results, facet)
    counts = sorted({len(pair.seeds) for pair in known.pairs})
    by_seeds = [pair for pair in known.pairs if pair.over_seeds]
    by_images = [pair for pair in known.pairs if pair.over_images]
    said = []
    if by_seeds:
        seeds = " to ".join(f"{count}" for count in dict.fromkeys((max(2, counts[0]), counts[-1])))
        shared = (
            f"; each variance is moderated by those of {known.pool.cells} cells, worth {known.pool.freedom:.1f} "
            "degrees of freedom"
            if known.pool.freedom
            else ""
        )
        rule = results.until
        looks = f", corrected for looks after {rule.least} to {rule.most} seeds (alpha spending)" if rule else ""
        said.append(f"over {seeds} seeds Student's t on logits, in pairs{shared}{looks}")
    if by_images:
        how = "McNemar's exact test" if counts[-1] == 1 else "McNemar's test"
        said.append(f"over {known.images:,} test images {how}")
    elif known.pairs:
        said.append("over test images none: these trials have no predictions stored")
    if not by_seeds and not by_images:
        return ""
    return f"Tests: {'; '.join(said)}. Holm's correction for {len(by_seeds or by_images)} pairs, at 5 %."


def trust_by_seeds(results: Results) -> str:
    """Return how far differences can be trusted, given the number of seeds."""
    count = len({row.cell.seed for row in results.rows})
    if count == 0:
        return "No cell has a result yet: trials of a search do not count as results."
    chosen = flattering(results)
    return _seeds(count) + (f" {SURVIVORS.format(chosen)}" if chosen else "")


def _seeds(count: int) -> str:
    if count == 1:
        return (
            "One seed: no pruner is said to lead, because another training may reverse any difference. Networks that "
            "are said to differ on these images differ by more than the choice of test images explains."
        )
    return (
        f"{count} seeds: a pruner leads where a test over seeds and one over test images both show it, each corrected "
        "so that at most 5 % of panels have a false lead. Where only the test over seeds shows it, the pruner is ahead "
        "on these test images. Elsewhere no difference is shown, which does not mean that there is none. Intervals are "
        "those of one pair alone, p-values are corrected."
    )


def standings(results: Results, facet: Facet) -> tuple[Ranking, ...]:
    """Return the ranking at each compression where two or more pruners have a result without bias by early stopping."""
    lines = {
        pruner: {point.compression: point for point in line(results, facet, pruner, TOP1)}
        for pruner in pruners(results)
    }
    known = panel_verdicts(results, facet)
    found = []
    for compression in compressions(results, facet):
        asked = {pruner: points[compression] for pruner, points in lines.items() if compression in points}
        here = {pruner: point for pruner, point in asked.items() if point.values and not point.flatters}
        if compression == 1 or len(here) < 2:
            continue
        missing = tuple(pruner for pruner in asked if pruner not in here)
        found.append(_ranking(known, compression, here, missing))
    return tuple(found)


def _ranking(
    known: PanelVerdicts, compression: float, here: dict[str, CurvePoint], missing: tuple[str, ...]
) -> Ranking:
    order = sorted(here, key=lambda pruner: here[pruner].mean, reverse=True)
    best = order[0]
    pairs = {pruner: known.between(compression, best, pruner) for pruner in order[1:]}
    behind = {pruner for pruner, pair in pairs.items() if pair and pair.leads and pair.better == best}
    last = max(place for place, pruner in enumerate(order) if pruner not in behind)
    leaders, below = tuple(order[: last + 1]), order[last + 1] if last + 1 < len(order) else ""
    broken = tuple(pruner for pruner in leaders if here[pruner].collapsed)
    beside = [pairs[pruner] for pruner in leaders[1:]]
    only_here = tuple(pair for pair in beside if pair and pair.only_here and pair.better == best)
    return Ranking(compression, leaders, missing, here[best], below, pairs.get(below), broken, only_here)


def _lead(group: Sequence[Ranking]) -> str:
    """Return one sentence for neighbouring compressions with the same leading pruners."""
    where = f"At {_range([standing.compression for standing in group])}"
    if group[0].missing:
        where += f" (without {in_words(group[0].missing)})"
    leads = [standing.lead for standing in group if standing.lead is not None]
    if not leads:
        return f"{where}, {_on_images(group) or 'no difference is shown'}."
    ahead, others = points(min(leads), max(leads)), {standing.next for standing in group if standing.next}
    below = others.pop() if len(others) == 1 else ""
    if len(group[0].leaders) == 1:
        return f"{where}, {group[0].leaders[0]} leads {below or 'the next'} by {ahead}{_sure(group)}."
    also = _on_images(group)
    between = f"none of {in_words(_leaders(group))} leads" if also else ""
    return (
        f"{where}, {between or f'no difference is shown between {in_words(_leaders(group))}'}; the best of them is "
        f"{ahead} above {below or 'the first one clearly below'}{_sure(group)}{f'; {also}' if also else ''}."
    )


def _on_images(group: Sequence[Ranking]) -> str:
    """Return which pruners the best is ahead of on these test images alone; "" if there are none."""
    pairs = [pair for standing in group for pair in standing.only_here]
    if not pairs:
        return ""
    worse = in_words(sorted({pair.worse for pair in pairs}))
    apart = points(min(pair.gap for pair in pairs), max(pair.gap for pair in pairs))
    if all(pair.ahead for pair in pairs):
        tested = all(pair.over_images for pair in pairs)
        why = "their choice could explain it" if tested else "other images are not tested without predictions"
        return f"{pairs[0].better} is ahead of {worse} on these test images, by {apart}; {why}"
    return (
        f"{pairs[0].better} differs from {worse} on these images, by {apart}; too few seeds to say that it holds for "
        "another training"
    )


def _leaders(group: Sequence[Ranking]) -> list[str]:
    """Return the leaders' names, marked if networks collapsed: these may be tied only by an uncertain mean."""
    broken = {pruner for standing in group for pruner in standing.broken}
    return [
        f"{pruner} (with collapsed networks)" if pruner in broken else pruner for pruner in sorted(group[0].leaders)
    ]


def _sure(group: Sequence[Ranking]) -> str:
    """Return how certain the lead is at the highest compression of a group, which readers care about most."""
    last = group[-1]
    at = f"at {last.compression:g}x: " if len(group) > 1 else ""
    return f" ({at}{last.verdict})"


def _beside_dense(unpruned: CurvePoint, ranked: Sequence[Ranking]) -> str:
    """Return how the best pruned network compares with the dense one at the lowest and the highest compression."""
    ends = ranked if len(ranked) < 3 else (ranked[0], ranked[-1])
    said = []
    for standing in ends:
        apart = standing.best.mean - unpruned.mean
        words = f"{points(abs(apart), abs(apart))} {'higher' if apart > 0 else 'lower'}" if apart else "equal"
        said.append(f"{words} at {standing.compression:g}x ({standing.leaders[0]})")
    return f"Beside the dense network, the highest mean of a pruned one is {in_words(said)}."


def _collapsed(results: Results, facet: Facet) -> list[str]:
    said = []
    for pruner in pruners(results):
        every = [point for point in line(results, facet, pruner, TOP1) if point.compression > 1 and point.values]
        to_the_end = list(takewhile(lambda point: point.collapsed == len(point.values), reversed(every)))
        some = [point for point in every[: len(every) - len(to_the_end)] if point.collapsed]
        where = [f"at {p.compression:g}x ({p.collapsed} of {len(p.values)} runs)" for p in some]
        if to_the_end:
            where.append(f"{'from' if to_the_end[1:] else 'at'} {to_the_end[-1].compression:g}x")
        if where:
            said.append(f"{pruner} {in_words(where)}")
    return said


def _tied(results: Results, facet: Facet) -> list[str]:
    """Return the pruners whose masks were drawn among ties, and at which compressions."""
    said = []
    for pruner in pruners(results):
        where = [
            f"{point.compression:g}x"
            for point in line(results, facet, pruner, TOP1)
            if any(row.metrics.get("prune/tied_scores", 0.0) > MANY_TIED for row in point.rows)
        ]
        if where:
            said.append(f"{pruner} at {in_words(where)}")
    return said


def _percent(point: CurvePoint, known: PanelVerdicts) -> str:
    """Return an accuracy in percent with its 95 % interval, over seeds or, with one seed, over the test images."""
    found = known.interval(point.values)
    if found is None:
        return f"{100 * point.mean:.1f} %"
    low, high = (f"{100 * end:.1f}" for end in found)
    return f"{100 * point.mean:.1f} % (95 % interval {low} to {high})"


def _range(values: Sequence[float]) -> str:
    return f"{values[0]:g}x" if len(values) == 1 else f"{values[0]:g}x to {values[-1]:g}x"
