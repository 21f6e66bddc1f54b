"""What the record of a trial says of its recipe, by the names and in the units of the published recipes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn

from pruners import lookup as pruner_of
from pruners.pruner import Pruner
from search_spaces import TRAINING, Network, Trial
from trainables import datasets
from trainables.architectures import build
from trainables.architectures import lookup as architecture_of
from trainables.datasets.dataset import SCORING_BATCH
from trainables.datasets.spec import DatasetSpec
from trainables.measures import MEASURES
from trainables.optimizer import LearningRate, make_optimizer

STAND_INS = {"cifar10-jpeg75": "cifar10", "cifar10-exact-subset": "cifar10"}
NOT_SAID = "not said"  # by the program; what we do is then a difference
PRUNABLE = "weights of convolutions and linear layers"
PLAIN = "plain and as many of each class"
TRAINED = ("epochs", "batch_size", "optimizer", "weight_decay", "warmup_epochs", "label_smoothing", "validation")
DIGITS = {"normalisation": 5e-3, "compression": 5e-3}  # relative: of these programs give three digits


def counterpart(dataset: str) -> str:
    """The dataset for which `dataset` stands in: `cifar10` of `cifar10-jpeg75`."""
    return STAND_INS.get(dataset, dataset)


def facts(trial: Trial, asked: Collection[str]) -> dict[str, Any]:
    """All that the record says of how the trial's network is made, trained and pruned; what cannot matter is left out.

    Of the names that are no fields of a trial: `learning_rate` maps an epoch, from 1, to the rate from then on;
    `normalisation` is mean and standard deviation per channel; `scoring_batch` counts images. The network is made only
    where its `parameters` are `asked` for. Images and pruners of the user's own are not looked at.
    """
    found: dict[str, Any] = {}
    if spec := datasets.DATASETS.get(trial.dataset):
        found |= {"outputs": spec.num_classes, "augment": _augmentation(trial, spec)}
        found["normalisation"] = [spec.mean, spec.std]
        if "parameters" in asked:
            found["parameters"] = parameters(trial.network, trial.dataset)
    if "init" in asked and (initialisation := _initialisation(trial)):
        found["init"] = initialisation
    if trial.epochs and (trial.measure == TRAINING or MEASURES[trial.measure].trains):
        found |= {name: getattr(trial, name) for name in TRAINED}
        found["learning_rate"] = rates(trial.epochs, trial.lr, trial.lr_schedule, trial.lr_drops, trial.lr_factor)
        if trial.optimizer == "sgd":
            found |= {"momentum": trial.momentum, "nesterov": trial.nesterov}
    if trial.pruner != "dense" and not trial.mask and not trial.code:
        found |= _pruning(trial, pruner_of(trial.pruner))
    return found


@cache
def parameters(network: Network, dataset: str) -> int:
    """How many numbers the network learns, for the images of a dataset. Made without a number in its weights."""
    spec = datasets.lookup(dataset)
    with torch.device("meta"):
        model = build(network.fresh, spec.input_shape, spec.num_classes, seed=0)
    return sum(parameter.numel() for parameter in model.parameters())


@cache
def rates(epochs: int, lr: float, schedule: str, drops: tuple[int, ...], factor: float) -> dict[int, float]:
    """The learning rate by the first epoch, from 1, that has it; told by the scheduler of the trials themselves."""
    fields = {"lr_schedule": schedule, "lr_drops": drops, "lr_factor": factor}
    trial = Trial.model_validate({"dataset": "", "architecture": "", "epochs": epochs, "lr": lr, **fields})
    optimizer = make_optimizer(nn.Linear(1, 1), trial)
    scheduler = LearningRate(optimizer, trial, steps_per_epoch=1)
    found: dict[int, float] = {}
    for epoch in range(1, epochs + 1):
        rate = float(optimizer.param_groups[0]["lr"])
        if not found or rate != list(found.values())[-1]:
            found[epoch] = rate
        scheduler.after_epoch(epoch)
    return found


def _pruning(trial: Trial, pruner: Pruner) -> dict[str, Any]:
    found = {
        "scope": trial.scope,
        "granularity": trial.granularity,
        "iterations": trial.iterations,
        "prunable": PRUNABLE if not (trial.dense_classifier or trial.keep_dense) else "some of the weights",
        "pretrain_epochs": trial.pretrain_epochs,
        **_options(trial, pruner),
    }
    if trial.iterations > 1:
        found["schedule"] = trial.schedule
    if pruner.uses_mode:
        found["mode"] = trial.mode
    if pruner.needs_data:
        found |= {
            "samples_per_class": trial.samples_per_class,
            "scoring_batch": found.get("scoring_batch") or SCORING_BATCH,
        }
        found["scoring_images"] = "normal noise" if trial.pruner == "ntk-sap" else PLAIN
    if pruner.needs_data and trial.pruner != "ntk-sap":
        found.setdefault("loss", "cross-entropy")
        # Masks of weights that are then drawn anew are not those of the weights that train.
        found["scoring_weights"] = "others" if trial.ablation == "reinitialize" else "those that train"
    if trial.pruner == "grasp":
        found["keeps"] = "the largest w (Hg)"
    if pruner.levels:
        rewound = f"to those of epoch {trial.rewind_epoch}" if trial.rewind_epoch else "to the first weights"
        found |= {"levels": trial.levels, "rewind": rewound}
    return found


def same(name: str, theirs: Any, ours: Any) -> bool:
    """Return True if two values of the field `name` are one recipe: equal up to the digits that programs give.

    A list of theirs beside a single value of ours holds the values of a study, of which ours is to be one.
    """
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        return theirs.keys() == ours.keys() and all(same(name, theirs[key], ours[key]) for key in theirs)
    if _listed(theirs):
        if _listed(ours):
            return len(theirs) == len(ours) and all(same(name, *pair) for pair in zip(theirs, ours, strict=True))
        return any(same(name, value, ours) for value in theirs)
    if isinstance(theirs, int | float) and isinstance(ours, int | float):
        return math.isclose(theirs, ours, rel_tol=DIGITS.get(name, 1e-4))
    return bool(theirs == ours)


def text(name: str, value: Any) -> str:
    """Write a value of the field `name` in words."""
    if isinstance(value, str):
        return value
    if name in WRITERS:
        return WRITERS[name](value)
    if isinstance(value, Sequence):
        return (" and " if isinstance(value[0], str) else " ").join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _changes(rates: Mapping[int, float]) -> str:
    return " → ".join(f"{rate:g}" + (f" from {epoch}" if epoch > 1 else "") for epoch, rate in rates.items())


def _halves(normalisation: Sequence[Sequence[float]]) -> str:
    return " ± ".join(" ".join(f"{number:g}" for number in half) for half in normalisation)


def _compressions(values: Sequence[float]) -> str:
    if len(values) > 4:
        return f"{len(values)} from {values[0]:g}x to {values[-1]:g}x"
    return " ".join(f"{value:g}x" for value in values)


def _altered(augment: Mapping[str, Any]) -> str:
    said = []
    if "pad" in augment:
        said.append(f"crop with a border of {augment['pad']}")
    if "area" in augment:
        area, ratio = ("–".join(f"{end:.3g}" for end in augment[key]) for key in ("area", "ratio"))
        said.append(f"crop of {area} of the area at ratio {ratio}")
    said += ["flip"] * augment.get("flip", False)
    return " and ".join(said) + (" or one or none" if augment.get("some") else "") or "none"


WRITERS: Mapping[str, Callable[[Any], str]] = {
    "learning_rate": _changes,
    "normalisation": _halves,
    "compression": _compressions,
    "augment": _altered,
    "parameters": "{:,}".format,
}


def _augmentation(trial: Trial, spec: DatasetSpec) -> dict[str, Any]:
    """How training images are altered: `pad`, the border of a crop, or its `area` and `ratio`; `flip`; or `some`."""
    how = datasets.AUGMENTATIONS[trial.augment] if trial.augment else spec.augment
    crop = {"area": how.area, "ratio": how.ratio} if how.area else {"pad": how.padding} if how.padding else {}
    return crop | {key: True for key in ("flip", "some") if getattr(how, key)}


def _initialisation(trial: Trial) -> str:
    """The name of how weights are drawn; "" where that has none."""
    return trial.init or architecture_of(trial.architecture, trial.architecture_code).init


def _options(trial: Trial, pruner: Pruner) -> dict[str, Any]:
    """The pruner's own settings, defaults filled in."""
    return {**pruner.options, **pruner.unrecorded, **trial.options}
