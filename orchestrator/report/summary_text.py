"""Summary over all panels in three sentences: how often each pruner leads, the surest lead, and collapses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from orchestrator.report import ranking_text
from orchestrator.report.budgets import budget_words
from orchestrator.report.figures import finding_sentences
from orchestrator.report.figures.finding import in_words
from orchestrator.report.measured import without_measures
from orchestrator.report.ranking_text import Ranking, standings
from orchestrator.report.search_tables import search_words
from orchestrator.report.seed_questions import seed_words
from orchestrator.report.statistics import points
from orchestrator.report.verdicts import PairVerdict
from orchestrator.results.lines import Facet, facets, flattering, pruners
from orchestrator.results.results import Results
from orchestrator.tracking.audits import TAG


def headline(results: Results) -> list[str]:
    """Return the sentences of the summary, followed by those on the search if there was one.

    They are three, two if no pruner leads, one if nothing can be compared; one more each if budgets differ and if seeds
    were added until comparisons were decided.
    """
    ranked = all_standings(results)
    tuned = search_words(results)
    if not results.rows:
        return tuned
    if not ranked:
        yet = " yet" if results.missing else ""
        chosen = " that early stopping did not choose" if flattering(results) else ""
        return [f"Nothing to compare{yet}: no compression above 1x has results of two pruners{chosen}.", *tuned]
    return [
        _leaders(ranked),
        *_surest(ranked),
        _collapse(results),
        *budget_words(results),
        *seed_words(results),
        *tuned,
    ]


def all_standings(results: Results) -> list[tuple[Facet, Ranking]]:
    """Return the rankings of all panels."""
    return [(facet, standing) for facet in facets(results) for standing in standings(results, facet)]


def _leaders(ranked: list[tuple[Facet, Ranking]]) -> str:
    """Return a sentence on how often each pruner is in front, most often first, and in how many comparisons."""
    total = len(ranked)
    clear = [standing for _, standing in ranked if standing.lead is not None]
    counts = Counter(pruner for standing in clear for pruner in standing.leaders)
    alone = Counter(standing.leaders[0] for standing in clear if len(standing.leaders) == 1)
    of = f"{total} comparison{'s' * (total > 1)}"
    shared = "; pruners tied with the best share first place" if alone.total() < counts.total() else ""
    what = f" A comparison is a network on a dataset at a compression{shared}." if total > 1 or shared else ""
    if not clear:
        return f"In {of} no pruner is shown to lead.{what}{_on_images(ranked)}"
    first, *more = sorted(counts, key=lambda pruner: (-counts[pruner], -alone[pruner]))
    said = [f"{first} is in front in {counts[first]} of {of}{_alone(alone[first], counts[first])}"]
    said += [f"{pruner} in {counts[pruner]}{_alone(alone[pruner], counts[pruner])}" for pruner in more[:2]]
    less = ""
    if others := more[2:]:
        fewest = min(counts[pruner] for pruner in (first, *more[:2]))
        rarer = all(counts[pruner] < fewest for pruner in others)
        less = ", others less often" if rarer else f", and {len(others)} others as well"
    nothing = sum(standing.lead is None and not standing.only_here for _, standing in ranked)
    rest = f"; in {nothing} no difference is shown at all" if nothing else ""
    return f"{', '.join(said)}{less}{rest}.{what}{_on_images(ranked)}"


def _alone(alone: int, count: int) -> str:
    return "" if not alone else " (alone)" if alone == count else f" (alone in {alone})"


def _on_images(ranked: list[tuple[Facet, Ranking]]) -> str:
    """Return in how many comparisons differences are shown on these images alone; "" if in none."""
    ahead = sum(any(pair.ahead for pair in standing.only_here) for _, standing in ranked)
    differing = sum(any(pair.differs_on_images for pair in standing.only_here) for _, standing in ranked)
    said = f" In {ahead} the best is ahead of others on these test images, which may be the luck of their choice."
    one_seed = (
        f" In {differing} the best network differs from others on these images; too few seeds to say that it holds for "
        "another training."
    )
    return (said if ahead else "") + (one_seed if differing else "")


def strongest(ranked: Iterable[tuple[Facet, Ranking]]) -> tuple[Facet, Ranking, PairVerdict] | None:
    """Return the lead with the smallest corrected p-values, of equal ones the largest; None if nobody leads.

    The larger of its two p-values counts.
    """
    leads = [(facet, standing, standing.verdict) for facet, standing in ranked if standing.verdict]
    if not leads:
        return None

    def strength(lead: tuple[Facet, Ranking, PairVerdict]) -> tuple[float, float]:
        tests = lead[2].over_seeds, lead[2].over_images
        return max(test.corrected if test else 1.0 for test in tests), -lead[2].gap

    return min(leads, key=strength)


def _surest(ranked: list[tuple[Facet, Ranking]]) -> list[str]:
    """Return a sentence on the strongest lead; if nobody leads, on the surest difference on these test images."""
    found = strongest(ranked)
    if found is None:
        here = [(facet, pair) for facet, standing in ranked for pair in standing.only_here if pair.ahead]
        if not here:
            return []
        facet, pair = min(here, key=lambda at: (at[1].over_seeds.corrected if at[1].over_seeds else 1.0, -at[1].gap))
        where = f"{pair.better} over {pair.worse} at {pair.compression:g}x on {facet.title}"
        return [f"The surest difference on these test images: {where}, {points(pair.gap, pair.gap)} ({pair})."]
    facet, standing, verdict = found
    tied = f" (tied with {in_words(standing.leaders[1:])})" if standing.leaders[1:] else ""
    where = f"at {standing.compression:g}x on {facet.title}"
    return [f"The surest lead: {verdict.better}{tied} over {verdict.worse} {where}, {points(verdict.gap, verdict.gap)} "
            f"({verdict})."]  # fmt: skip


def _collapse(results: Results) -> str:
    """Return a sentence on the lowest compression at which each pruner has a collapsed network."""
    first: dict[str, float] = {}
    for row in sorted(results.rows, key=lambda row: row.cell.compression):
        if row.collapsed and row.cell.compression > 1:
            first.setdefault(row.cell.pruner, row.cell.compression)
    if not first:
        return "No network collapsed: each has a path of kept weights from input to output."
    said = [
        f"{in_words([pruner for pruner in pruners(results) if first.get(pruner) == compression])} from {compression:g}x"
        for compression in sorted(set(first.values()))
    ]
    safe = [pruner for pruner in pruners(results) if pruner not in first]
    never = f"; never with {in_words(safe)}" if safe else ""
    return f"Networks collapse (no path of kept weights from input to output) with {', '.join(said)}{never}."


def short_summary(results: Results) -> list[str]:
    """Return the summary over all panels, in a few sentences."""
    measured = [f"{title}: {' '.join(said[:2])}" for title, said in finding_sentences(results) if said]
    return ([] if _only_measured(results) else headline(without_measures(results))) + measured


def panel_sentences(results: Results) -> list[tuple[str, list[str]]]:
    """Return the title and the sentences of each panel."""
    known = without_measures(results)
    return [(facet.title, ranking_text.sentences(known, facet)) for facet in facets(known)] + finding_sentences(results)


def overall_trust(results: Results) -> str:
    """Return how far differences can be trusted; "" if nothing was trained."""
    return "" if _only_measured(results) else ranking_text.trust_by_seeds(without_measures(results))


def _only_measured(results: Results) -> bool:
    return bool(results.rows) and not without_measures(results).rows


def audit_words(results: Results) -> tuple[str, list[str]]:
    """Return a sentence on the audits of all trained networks, or "", and a line for each that differs."""
    known = without_measures(results)
    finished = {row.run_id: row for row in (*known.rows, *known.tried) if row.status == "finished"}
    if not finished:
        return "", []
    told = {run_id: row.tags[TAG] for run_id, row in finished.items() if row.tags.get(TAG)}
    differing = [
        f"{results.trials[finished[run_id].cell.fingerprint].name} ({run_id}) {words}"
        for run_id, words in told.items()
        if words.startswith("differs")
    ]
    many = f"{len(told)} of {len(finished)} finished trials {'was' if len(told) == 1 else 'were'} audited"
    if not told:
        return f"{many}: python -m orchestrator.audit recomputes them in plain PyTorch.", []
    came = f"{len(differing)} DIFFER{'S' * (len(differing) == 1)} from what was logged" if differing else "all agree"
    return f"{many}, that is recomputed in plain PyTorch and counted again: {came}.", differing
