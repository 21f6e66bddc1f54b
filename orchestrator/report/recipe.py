"""Recipe section of a report: the settings that all trials share, and those in which pruners differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.results.lines import pruners
from orchestrator.results.results import Results
from search_spaces import TRAINING, Trial
from search_spaces.phases import RECIPE
from search_spaces.trial import TOLD

# Fields that act only if another field has one of these values: Adam ignores momentum.
ONLY_WITH = {
    "momentum": ("optimizer", ("sgd", "rmsprop")),
    "nesterov": ("optimizer", ("sgd",)),
    "lr_drops": ("lr_schedule", ("step",)),
    "lr_factor": ("lr_schedule", ("step",)),
}
# Fields are left out where they have the default of `Trial`, if that means "not used": zero, no, nothing, or these.
ALSO_UNUSED = ("compression", "accumulate", "precision", "measure")
DEFAULTS = Trial(dataset="", architecture="").params()
UNUSED = {
    key: DEFAULTS[key]
    for key, field in Trial.model_fields.items()
    if key in DEFAULTS and key != "seed" and (key in ALSO_UNUSED or field.default in (0, False, "", (), "none"))
}
TOTAL = "epochs in all"


def common(trials: Iterable[Trial]) -> list[tuple[str, str]]:
    """Return the fields that are equal in all pruned trials, without those that have no effect there."""
    some = list(trials)
    first, *others = [t.params() for t in [t for t in some if t.pruner != "dense"] or some]
    equal = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    return [(key, value) for key, value in equal.items() if _acts(key, first)]


def never_pruned_shares(results: Results) -> list[tuple[str, str]]:
    """Return the share of parameters that each network never prunes: biases, norms, embeddings."""
    shares: dict[str, str] = {}
    for row in results.rows:
        params, kept, ratio = (row.metrics.get(f"model/{key}", 0.0) for key in ("params", "params_kept", "compression"))
        if row.status == "finished" and ratio > 1 and params:
            weights = (params - kept) * ratio / (ratio - 1)  # ratio = weights / (weights - (params - kept))
            shares.setdefault(row.cell.architecture, f"{max(0.0, 100 * (1 - weights / params)):.2g} %")
    return [(f"never pruned of {name}", f"{share} of its parameters") for name, share in shares.items()]


def fields_by_pruner(results: Results) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the fields that differ between pruners, and a row of their values per pruner; no fields if none differ.

    The last field is the number of epochs that a network trains in all, before and after pruning: it differs between
    pruners.
    """
    records: dict[str, list[dict[str, str]]] = {}
    for row in results.rows:
        trial = results.trials[row.cell.fingerprint]
        if trial.pruner != "dense":  # at 1x all pruners share one trial
            total = {TOTAL: f"{trial.pretrain_epochs + trial.epochs_to_train}"}
            records.setdefault(row.cell.pruner, []).append(trial.params() | total)
    names = [pruner for pruner in pruners(results) if pruner in records]
    keys = dict.fromkeys(key for name in names for record in records[name] for key in record if key not in TOLD)
    found = {key: [_values(records[name], key) for name in names] for key in keys}
    differing = [key for key in [*(key for key in found if key != TOTAL), TOTAL] if len(set(found.get(key, []))) > 1]
    return differing, [(name, [found[key][i] for key in differing]) for i, name in enumerate(names)]


def _values(records: Iterable[Mapping[str, str]], key: str) -> str:
    return ", ".join(dict.fromkeys(record[key] for record in records if record.get(key))) or "–"


def _acts(key: str, record: Mapping[str, str]) -> bool:
    if key in RECIPE and record["epochs"] == "0" and record["measure"] != TRAINING:
        return False  # a measure that trains nothing
    other, values = ONLY_WITH.get(key, (key, (record[key],)))
    return bool(record[key]) and record.get(other) in values and UNUSED.get(key) != record[key]
