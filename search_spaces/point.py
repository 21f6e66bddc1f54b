"""Trial at a point of the grid, reduced to what determines its result, and the dense trial that it starts from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.catalog import Catalog, is_custom
from search_spaces.errors import SpaceError
from search_spaces.network import Network
from search_spaces.phases import PHASES, phases, reduced, require_measurable
from search_spaces.space import check
from search_spaces.trial import TRAINING, Trial

# Settings that every pruner has. A space may set them beside the pruner's name, or for all pruners at once.
SHARED = ("granularity", "scope", "schedule", "iterations", "mode", "samples_per_class", *PHASES)
# All fields that decide which weights are pruned and when. A dense trial has none of them.
PRUNING = ("pruner", "compression", "kappa", "options", "code", "mask", "dense_classifier", "keep_dense", *SHARED)


def trial_at(point: Mapping[str, Any], network: Network, catalog: Catalog) -> Trial:
    """Return the trial at `point`, which has a value per field of the space; `network` is its architecture.

    Fields that cannot change the result are dropped, so that equal computations have equal fingerprints.

    Raises:
        SpaceError: if settings contradict each other.
    """
    fields = {key: value for key, value in point.items() if key not in ("pruner", "architecture", "lr_schedule")}
    fields |= network.fields() | point.get("lr_schedule", {})
    if digest := catalog.dataset(point["dataset"]).digest:
        fields["data_digest"] = digest
    if fields.get("augment"):
        fields["augment"] = catalog.dataset(point["dataset"]).augmentation(fields["augment"])
    _require_recipe(fields)
    measure = catalog.measures.get(fields.get("measure", TRAINING))
    if "mask" in fields:
        if measure is not None:
            raise SpaceError(f"measure: {fields['measure']} is not allowed with mask; it prunes by itself")
        fields |= catalog.mask(fields["mask"]).fields
        if fields["compression"] > 1:
            return Trial(**fields)
    if "kappa" in point["pruner"]:  # beside a pruner's name, kappa replaces the compression of the space
        fields |= {"compression": 1.0, "kappa": point["pruner"]["kappa"]}
    dense = fields.get("compression", 1.0) == 1 and not fields.get("kappa")
    if dense and measure is None:  # one trial for all pruners
        return Trial(**{key: value for key, value in fields.items() if key not in PRUNING})

    name = point["pruner"]["name"]
    traits = catalog.pruner(name)
    if measure is not None:
        require_measurable(fields["measure"], measure, point, traits)
    given = {key: fields.pop(key) for key in SHARED if key in fields}
    given |= {key: check(key, value) for key, value in point["pruner"].items() if key in SHARED}
    own = {key: value for key, value in point["pruner"].items() if key in traits.options}
    wanted = {key: given[key] for key in ("granularity", "scope", "schedule", "iterations", "mode") if key in given}
    try:
        settings = traits.settings(**wanted, options=own)
    except ValueError as error:
        raise SpaceError(f"pruner {name}: {error}") from None
    if traits.needs_data and "samples_per_class" in given:
        fields["samples_per_class"] = given["samples_per_class"]
    fields |= phases(name, traits, given, fields.get("epochs", Trial.model_fields["epochs"].default))
    if fields.get("kappa"):
        _require_filters(name, settings.granularity, fields["levels"], catalog)
    elif measure is None:
        _require_share(settings.granularity, fields["compression"])
    path, _, wanted = name.rpartition(":")
    unsaid = {**traits.options, **traits.unrecorded}
    fields |= {
        "pruner": f"{Path(path).name}:{wanted}" if is_custom(name) else name,
        # The text of a user's own file determines the result. The record has it: the trial's node may lack the file.
        "code": Path(path).expanduser().read_text(encoding="utf-8") if is_custom(name) else "",
        "granularity": settings.granularity,
        "scope": settings.scope,
        "schedule": settings.schedule,
        "iterations": settings.iterations,
        "mode": settings.mode,
        # Only options that a record without them would not mean, so that an option added later changes no old record.
        "options": {key: value for key, value in settings.options.items() if value != unsaid[key]},
    }
    return Trial(**fields if measure is None else reduced(fields, measure))


def _require_recipe(fields: dict[str, Any]) -> None:
    """Drop fields that the optimizer or the learning-rate schedule ignores; raise SpaceError for invalid recipes."""
    if fields.get("lr_schedule") != "step":
        fields.pop("lr_drops", None)
        fields.pop("lr_factor", None)
    elif not fields.get("lr_drops"):
        raise SpaceError("lr_schedule: step needs drops, for example {name: step, drops: [60, 120], factor: 0.1}")
    optimizer = fields.get("optimizer", "sgd")
    if optimizer != "sgd":
        fields.pop("nesterov", None)
    if optimizer in ("adam", "adamw"):
        fields.pop("momentum", None)
    elif fields.get("nesterov") and fields.get("momentum") == 0:
        raise SpaceError("nesterov: needs momentum above 0")
    epochs, warmup, batch, parts = (
        fields.get(key, Trial.model_fields[key].default)
        for key in ("epochs", "warmup_epochs", "batch_size", "accumulate")
    )
    if 0 < epochs <= warmup:
        raise SpaceError(f"warmup_epochs: {warmup} is not allowed; it must be below epochs: {epochs}")
    if 1 < parts > batch // 2:
        raise SpaceError(
            f"accumulate: {parts} is not allowed; batch_size: {batch} can have at most {batch // 2} parts of two images"
        )


def _require_filters(name: str, granularity: str, levels: int, catalog: Catalog) -> None:
    filters = [other for other in catalog.granularities if other != "weight" and ":" not in other]
    if granularity not in filters:
        raise SpaceError(
            f"pruner {name}: kappa: is a share of filters, but the granularity is '{granularity}'; "
            f"choose granularity {', '.join(filters)}"
        )
    if levels:
        raise SpaceError(f"pruner {name}: levels: {levels} is not allowed with kappa; levels need a compression")


def _require_share(granularity: str, compression: float) -> None:
    kept, _, width = granularity.partition(":")
    if width and not math.isclose(compression * int(kept), int(width)):
        raise SpaceError(
            f"compression: granularity {granularity} keeps {kept} of {width} weights, which is "
            f"{int(width) / int(kept):g}x and not {compression:g}x"
        )


def stage(trial: Trial) -> Trial | None:
    """Return the dense trial whose trained weights `trial` starts from, or None if it starts from fresh ones.

    All trials of one architecture, dataset, seed and recipe share it, whatever they prune. If the space asks for that
    dense trial too, it is the same one. The first of several levels is such a dense training.
    """
    if trial.measure != TRAINING:
        return None  # a measure does its own training
    epochs = trial.pretrain_epochs or (trial.epochs if trial.levels else 0)
    if not epochs:
        return None
    recipe = {name: getattr(trial, name) for name in trial.model_fields_set.difference(PRUNING)}
    return Trial(**recipe | {"epochs": epochs})
