"""How the comparisons of a sweep with `seed: {until: decided}` ended, and which trials it did not need."""

from __future__ import annotations

from collections import Counter

from orchestrator.report.panel_seeds import LeaderQuestion, leader_questions
from orchestrator.report.verdicts import p_value, panel_trials, panel_verdicts
from orchestrator.results.lines import Facet, facets
from orchestrator.results.results import Results
from search_spaces import UntilDecided


def questions_of(results: Results, rule: UntilDecided) -> list[tuple[Facet, LeaderQuestion]]:
    """Return the comparisons with a leader in all panels, as they stand."""
    return [
        (facet, question)
        for facet in facets(results)
        for question in leader_questions(tuple(panel_trials(results, facet)), panel_verdicts(results, facet), rule)
    ]


def seed_words(results: Results) -> list[str]:
    """Return one sentence on how the comparisons ended and how many trials were saved; none if seeds were fixed."""
    rule = results.until
    questions = questions_of(results, rule) if rule else []
    if rule is None or not questions:
        return []
    count = Counter(question.ending for _, question in questions)
    said = (
        f"Seeds until decided: of {len(questions)} comparisons with a leader {count['decided']} are decided, "
        f"{count['equal']} equal within {rule.within:g} points, {count['open']} open"
    )
    plan = next(sweep.plan for sweep in results.sweeps if "until" in sweep.plan)
    full, ran = int(plan["until"].get("full", 0)), len(plan["trials"])
    saved = f"; the sweep asked for {ran} of the {full} trials of a grid of {plan['until']['most']} seeds"
    over = all(asked.ending != "open" or _seeds_of(results, facet, asked) >= rule.most for facet, asked in questions)
    return [f"{said}{f'{saved}, {full - ran} fewer' if over and full > ran else ''}."]


def _seeds_of(results: Results, facet: Facet, question: LeaderQuestion) -> int:
    """Return the number of seeds over which the two pruners of a question can be compared."""
    pair = panel_verdicts(results, facet).between(question.compression, question.leader, question.other)
    return len(pair.seeds) if pair else 0


def asked_questions(results: Results) -> list[list[str]]:
    """Return a row per comparison with a leader and how it ended; [] if seeds were fixed."""
    rule = results.until
    if rule is None:
        return []
    rows = []
    for facet, question in questions_of(results, rule):
        pair = panel_verdicts(results, facet).between(question.compression, question.leader, question.other)
        seeds = _seeds_of(results, facet, question)
        ended, gap = ending_words(question, seeds, rule), f"{100 * pair.gap:.2f}" if pair else ""
        place = [facet.title, f"{question.compression:g}x", question.leader, question.other]
        rows.append([*place, ended, str(seeds), gap, p_value(question.p)])
    heads = ["cell", "compression", "leader", "other", "comparison", "seeds", "difference", "p over seeds"]
    return [heads, *rows] if rows else []


def ending_words(question: LeaderQuestion, seeds: int, rule: UntilDecided) -> str:
    """Return how a comparison over so many seeds ended, in a few words."""
    if question.ending == "equal":
        return f"equal within {rule.within:g} points"
    return "open at the most seeds" if question.ending == "open" and seeds >= rule.most else question.ending
