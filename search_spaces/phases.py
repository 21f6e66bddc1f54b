"""When a pruner prunes (before, after or during training, once or in levels), and which settings exclude each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.catalog import Catalog, MeasureTraits, PrunerTraits
from search_spaces.errors import SpaceError
from search_spaces.trial import TRAINING, Trial

PHASES = ("pretrain_epochs", "levels", "rewind_epoch", "ablation")


def phases(name: str, traits: PrunerTraits, given: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """Return the fields `PHASES` of a trial with the pruner `name`: the values in `given`, else the pruner's own.

    For a pruner of trained weights, dense training takes as many epochs as the trial itself, unless the pruner trains
    in levels. If the recipes are equal, that training is then also the dense trial of the space.

    Raises:
        SpaceError: if the settings contradict each other.
    """
    levels = given.get("levels", traits.levels)
    after = traits.when == "after" and not levels
    pretrain_epochs = given.get("pretrain_epochs", epochs if after else 0)
    rewind_epoch = given.get("rewind_epoch", 0)
    ablation = given.get("ablation", "none")
    granularity = given.get("granularity", "weight")
    if traits.when == "early" and not levels and "pretrain_epochs" not in given:
        raise SpaceError(
            f"pruner {name}: pretrain_epochs: missing; it prunes early in training, so say after which epoch, as in "
            f"{{name: {name}, pretrain_epochs: 5}}"
        )
    if traits.when == "during":
        if levels:
            raise SpaceError(f"pruner {name}: levels: {levels} is not allowed; it prunes during training, in one go")
        if ablation != "none":
            raise SpaceError(f"pruner {name}: ablation: '{ablation}' is not allowed; its masks change during training")
        if granularity != "weight":
            raise SpaceError(f"pruner {name}: granularity: '{granularity}' is not allowed; it prunes single weights")
        if epochs == 0:
            raise SpaceError(f"pruner {name}: epochs: 0 is not allowed; it prunes during training")
    if traits.update and ablation in ("shuffle", "invert"):
        raise SpaceError(f"pruner {name}: ablation: '{ablation}' is not allowed; it updates weights for its own masks")
    if levels and epochs == 0:
        raise SpaceError(f"pruner {name}: epochs: 0 is not allowed; levels prune trained weights")
    if levels and pretrain_epochs:
        raise SpaceError(
            f"pruner {name}: pretrain_epochs: {pretrain_epochs} is not allowed with levels: {levels}, which train the "
            "network; give it only to the pruners that need it, as in {name: magnitude, pretrain_epochs: 10}"
        )
    if levels > 1 and ":" in granularity:
        raise SpaceError(
            f"pruner {name}: levels: {levels} is not allowed with granularity {granularity}, which has one compression"
        )
    if rewind_epoch and not levels:
        raise SpaceError(f"pruner {name}: rewind_epoch: {rewind_epoch} is not allowed without levels of at least 1")
    if levels and rewind_epoch >= epochs:
        raise SpaceError(
            f"pruner {name}: rewind_epoch: {rewind_epoch} is not allowed; it must be below epochs: {epochs}"
        )
    wanted = (pretrain_epochs, levels, rewind_epoch, ablation)
    return dict(zip(PHASES, wanted, strict=True))


# Fields of the training recipe. A measure that does not train ignores them, and `epochs` is then 0.
OPTIMIZER = ("optimizer", "lr", "momentum", "nesterov", "weight_decay", "lr_schedule", "lr_drops", "lr_factor")
STRONG = ("rand_augment", "random_erasing", "mixup", "cutmix")
REFINEMENTS = (
    "augment", "warmup_epochs", "label_smoothing", *STRONG, "accumulate", "ema", "precision", "cudnn_benchmark",
)  # fmt: skip
RECIPE = ("epochs", "batch_size", *OPTIMIZER, *REFINEMENTS, *PHASES)


def compresses(trial: Trial, catalog: Catalog) -> bool:
    """Return True if the compression of `trial` changes its result."""
    return trial.measure == TRAINING or "compression" not in catalog.measures[trial.measure].ignores


def require_measurable(measure: str, traits: MeasureTraits, point: Mapping[str, Any], pruner: PrunerTraits) -> None:
    """Raise SpaceError if `measure` cannot handle the pruner or its settings.

    Raises:
        SpaceError: with the setting and what is allowed.
    """
    name = point["pruner"]["name"]
    granularity = point["pruner"].get("granularity", point.get("granularity", "weight"))
    if granularity != "weight":
        raise SpaceError(f"measure: {measure} looks at single weights; granularity '{granularity}' is not allowed")
    if point.get("kappa") or "kappa" in point["pruner"]:
        raise SpaceError(f"measure: {measure} looks at single weights; kappa, a share of filters, is not allowed")
    if pruner.when == "during" or (pruner.when in ("early", "after") and not traits.trains):
        when = "early in" if pruner.when == "early" else pruner.when
        raise SpaceError(f"pruner {name}: it prunes {when} training, but measure {measure} prunes before it")


def reduced(fields: Mapping[str, Any], traits: MeasureTraits) -> dict[str, Any]:
    """Return the fields of a trial without those that its measure ignores."""
    ignored = (*traits.ignores, *(() if traits.trains else RECIPE))
    kept = {key: value for key, value in fields.items() if key not in ignored}
    return kept if traits.trains else kept | {"epochs": 0}
