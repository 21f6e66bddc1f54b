"""A space's words for a search, as Optuna's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import CategoricalChoiceType

from search_spaces import Range


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler of that name in a space (`search_spaces.Search`)."""
    makers: dict[str, Callable[..., optuna.samplers.BaseSampler]] = {
        "tpe": optuna.samplers.TPESampler,
        "gp": optuna.samplers.GPSampler,
        "cmaes": optuna.samplers.CmaEsSampler,
        "nsga2": optuna.samplers.NSGAIISampler,
        "random": optuna.samplers.RandomSampler,
    }
    return makers[name](seed=seed % 2**32)


def suggest(trial: optuna.Trial, key: str, values: Range | tuple[CategoricalChoiceType, ...]) -> Any:
    """A value of a range, or of an axis's values, that the study chooses for `key`."""
    if isinstance(values, tuple):
        return trial.suggest_categorical(key, values)
    if values.choices is not None:
        return trial.suggest_categorical(key, values.choices)
    assert values.low is not None and values.high is not None  # the one form or the other
    if values.whole:
        return trial.suggest_int(key, int(values.low), int(values.high), step=int(values.step or 1), log=values.log)
    return trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)
