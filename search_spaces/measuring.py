"""What a trial measures instead of how well the pruned network trains, and what cannot go together with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.catalog import Catalog, MeasureTraits, PrunerTraits
from search_spaces.errors import SpaceError
from search_spaces.phases import PHASES
from search_spaces.trial import TRAINING, Trial

# How networks are trained: of no account where none is, and `epochs` is then 0.
OPTIMIZER = ("optimizer", "lr", "momentum", "nesterov", "weight_decay", "lr_schedule", "lr_drops", "lr_factor")
REFINEMENTS = ("augment", "warmup_epochs", "label_smoothing", "accumulate", "ema", "precision")
RECIPE = ("epochs", "batch_size", *OPTIMIZER, *REFINEMENTS, *PHASES)


def compresses(trial: Trial, catalog: Catalog) -> bool:
    """Whether the compression of `trial` changes what it finds."""
    return trial.measure == TRAINING or "compression" not in catalog.measures[trial.measure].ignores


def require_measurable(measure: str, traits: MeasureTraits, point: Mapping[str, Any], pruner: PrunerTraits) -> None:
    """Refuse what `measure` cannot look at.

    Raises:
        SpaceError: naming the setting and what is allowed.
    """
    name = point["pruner"]["name"]
    granularity = point["pruner"].get("granularity", point.get("granularity", "weight"))
    if granularity != "weight":
        raise SpaceError(f"measure: {measure} looks at single weights; granularity '{granularity}' is not allowed")
    if point.get("kappa") or "kappa" in point["pruner"]:
        raise SpaceError(f"measure: {measure} looks at single weights; kappa, a share of filters, is not allowed")
    if pruner.when == "during" or (pruner.when == "after" and not traits.trains):
        raise SpaceError(f"pruner {name}: it prunes {pruner.when} training, and measure {measure} prunes before it")


def reduced(fields: Mapping[str, Any], traits: MeasureTraits) -> dict[str, Any]:
    """The fields of a trial without those that its measure ignores."""
    ignored = (*traits.ignores, *(() if traits.trains else RECIPE))
    kept = {key: value for key, value in fields.items() if key not in ignored}
    return kept if traits.trains else kept | {"epochs": 0}
