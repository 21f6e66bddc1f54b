"""What to search MLflow for to find the trials of one panel: the params that tell it from the others."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.reading.lines import Facet, facet_of, facets
from orchestrator.reading.results import Results

FIRST = ("dataset", "architecture")  # what people would search for


def params_of(results: Results) -> dict[Facet, dict[str, str]]:
    """By facet, the params with one value in all of its pruned trials."""
    shared: dict[Facet, dict[str, str]] = {}
    for row in results.rows:
        trial = results.trials[row.cell.fingerprint]
        if trial.pruner == "dense":  # shared between facets: at 1x, what they differ in may not matter
            continue
        params, facet = trial.params(), facet_of(row)
        known = shared.setdefault(facet, params)
        shared[facet] = {key: value for key, value in known.items() if params.get(key) == value}
    return {facet: shared[facet] for facet in facets(results) if facet in shared}


def apart(results: Results) -> dict[Facet, dict[str, str]]:
    """By facet, the fewest of these params that no other facet has, the dataset and the architecture first."""
    shared = params_of(results)
    return {facet: _fewest(params, [o for f, o in shared.items() if f != facet]) for facet, params in shared.items()}


def _fewest(params: Mapping[str, str], others: list[dict[str, str]]) -> dict[str, str]:
    found = {}
    for key in sorted(params, key=lambda key: key not in FIRST):
        left = [other for other in others if other.get(key) == params[key]]
        if len(left) < len(others):
            found[key] = params[key]
        others = left
    return found
