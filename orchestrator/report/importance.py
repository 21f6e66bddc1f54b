"""Which of the searched settings mattered: the share of an objective's variance that each explains (fANOVA)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.report.studies import Tuned

if TYPE_CHECKING:  # it takes half a second to import: only who has a search pays for that
    from optuna.distributions import BaseDistribution

TRIALS = 10  # of fewer the shares are noise


def importances(study: Tuned, objective: int = 0) -> dict[str, float]:
    """Share of each setting, the largest first, together 1 (Hutter, Hoos and Leyton-Brown 2014, as Optuna has it).

    Only of settings that all finished trials have and that differ between them; empty where there are fewer than two
    of these or than ten finished trials, or where all came out equal. Computed of the report's rows, in memory: the
    search's own storage is not asked.
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
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)  # equal trials give equal shares
    return optuna.importance.get_param_importances(copy, evaluator=evaluator)


def _ranges(chosen: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """Where the values of each setting lie."""
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
    """A number as a float, all else as a word."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
