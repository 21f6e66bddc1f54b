"""What trials share: the dense training behind those which prune trained weights."""

from __future__ import annotations

from search_spaces.point import PRUNING
from search_spaces.trial import TRAINING, Trial


def stage(trial: Trial) -> Trial | None:
    """The dense trial whose trained weights `trial` starts from, or None if it starts from fresh ones.

    The same for all that share an architecture, a dataset, a seed and a recipe, whatever they prune; and if the
    space asks for that dense trial too, this is it. The first of several levels is such a dense training.
    """
    if trial.measure != TRAINING:
        return None  # it trains what it looks at by itself
    epochs = trial.pretrain_epochs or (trial.epochs if trial.levels else 0)
    if not epochs:
        return None
    recipe = {name: getattr(trial, name) for name in trial.model_fields_set.difference(PRUNING)}
    return Trial(**recipe | {"epochs": epochs})
