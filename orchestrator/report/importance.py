"""Importance of searched settings: the share of an objective's variance that each explains (fANOVA)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.report.studies import Tuned

if TYPE_CHECKING:  # takes half a second to import: only reports with a search pay for that
    from optuna.distributions import BaseDistribution

TRIALS = 10  # with fewer trials the shares are noise


def importances(study: Tuned, objective: int = 0) -> dict[str, float]:
    """Return the share of each setting, largest first, with sum 1 (Hutter, Hoos and Leyton-Brown 2014, by Optuna).

    It covers settings that all finished trials have and that differ between them. The result is empty for fewer than
    two such settings or fewer than ten finished trials, or if all values are equal. It is computed in memory from the
    report's rows, without the storage of the search.
    """
    numbers = list(study.values)
    if len(numbers) < TRIALS:
        return {}
    chosen = [study.chosen(study.rows[number]) for number in numbers]
    ranges = _ranges(chosen)
    goals = [study.values[number][objective] for number in numbers]
    if len(ranges) < 2 or max(goals) == min(goals):
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    copy = optuna.create_study(direction="maximize")
    copy.add_trials(
        [
            optuna.create_trial(params={key: _plain(own[key]) for key in ranges}, distributions=ranges, value=goal)
            for own, goal in zip(chosen, goals, strict=True)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)  # the same trials give the same shares
    return optuna.importance.get_param_importances(copy, evaluator=evaluator)


def _ranges(chosen: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """Return the distribution of each setting, from the smallest to the largest value that occurs."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    found: dict[str, BaseDistribution] = {}
    for key in dict.fromkeys(key for own in chosen for key in own):
        values = [_plain(own[key]) for own in chosen if key in own]
        if len(values) < len(chosen) or len(set(values)) < 2:
            continue
        if all(isinstance(value, float) and math.isfinite(value) for value in values):
            low, high = min(values), max(values)
            found[key] = FloatDistribution(low, high, log=low > 0 and high > 10 * low)
        else:
            found[key] = CategoricalDistribution(sorted({str(value) for value in values}))
    return found


def _plain(value: Any) -> Any:
    """Return a number as a float, anything else as a string."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
