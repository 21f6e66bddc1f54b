"""What a report says in words, of pruned networks that were trained and of whatever else was measured."""

from __future__ import annotations

from orchestrator import findings
from orchestrator.comparing.measured import trained
from orchestrator.reading.lines import facets
from orchestrator.reading.results import Results
from orchestrator.reporting import answer
from orchestrator.reporting.headline import headline


def short(results: Results) -> list[str]:
    """The answer in a few sentences, over all panels."""
    measured = [f"{title}: {' '.join(said[:2])}" for title, said in findings.sentences(results) if said]
    return ([] if _only_measured(results) else headline(trained(results))) + measured


def panels(results: Results) -> list[tuple[str, list[str]]]:
    """The answer panel by panel: its title, and what is said of it."""
    known = trained(results)
    return [(facet.title, answer.sentences(known, facet)) for facet in facets(known)] + findings.sentences(results)


def care(results: Results) -> str:
    """How far differences are to be trusted."""
    return "" if _only_measured(results) else answer.care(trained(results))


def _only_measured(results: Results) -> bool:
    return bool(results.rows) and not trained(results).rows
