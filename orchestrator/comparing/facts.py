"""What the record of a trial says of its recipe, by the names and in the units of the published recipes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from trainables.measures import MEASURES
from trainables.optimizer import LearningRate, make_optimizer

STAND_INS = {"cifar10-jpeg75": "cifar10", "cifar10-exact-subset": "cifar10"}
NOT_SAID = "not said"  # by the program; what we do is then a difference
PRUNABLE = "weights of convolutions and linear layers"
TRAINED = ("epochs", "batch_size", "optimizer", "weight_decay", "warmup_epochs", "label_smoothing", "validation")
SMALLEST = 1e-3  # difference of two normalisations: programs give three digits


def counterpart(dataset: str) -> str:
    """The dataset for which `dataset` stands in: `cifar10` of `cifar10-jpeg75`."""
    return STAND_INS.get(dataset, dataset)


def facts(trial: Trial) -> dict[str, Any]:
    """All that the record says of how the trial's network is made, trained and pruned; what cannot matter is left out.

    Of the names that are no fields of a trial: `learning_rate` maps an epoch, from 1, to the rate from then on;
    `normalisation` is mean and standard deviation per channel; `scoring_batch` counts images.
    """
    spec = datasets.lookup(trial.dataset)
    found: dict[str, Any] = {
        "outputs": spec.num_classes,
        "augment": _augmentation(trial),
        "normalisation": [spec.mean, spec.std],
        "parameters": parameters(trial.network, trial.dataset),
    }
    if initialisation := _initialisation(trial):
        found["init"] = initialisation
    if trial.epochs and (trial.measure == TRAINING or MEASURES[trial.measure].trains):
        found |= {name: getattr(trial, name) for name in TRAINED}
        found["learning_rate"] = rates(trial.epochs, trial.lr, trial.lr_schedule, trial.lr_drops, trial.lr_factor)
        if trial.optimizer == "sgd":
            found |= {"momentum": trial.momentum, "nesterov": trial.nesterov}
    if trial.pruner != "dense" and not trial.mask:
        found |= _pruning(trial, pruner_of(trial.pruner, trial.code))
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
        found |= {"samples_per_class": trial.samples_per_class, "scoring_batch": SCORING_BATCH}
        found |= {"scoring_images": "plain, as many of each class", "scoring_weights": "those that train"}
        found.setdefault("loss", "cross-entropy")
    if trial.pruner == "ntk-sap":
        found |= {"scoring_images": "normal noise", "scoring_batch": found["scoring_batch"] or SCORING_BATCH}
    if pruner.levels:
        rewound = f"to those of epoch {trial.rewind_epoch}" if trial.rewind_epoch else "to the first weights"
        found |= {"levels": trial.levels, "rewind": rewound}
    return found


def same(theirs: Any, ours: Any) -> bool:
    """Return True if two values of a field are one recipe: equal up to the digits that programs give.

    A list of theirs that is no list of ours holds the values of a study, of which ours is to be one.
    """
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        return theirs.keys() == ours.keys() and all(same(theirs[key], ours[key]) for key in theirs)
    if isinstance(theirs, Sequence) and not isinstance(theirs, str):
        if isinstance(ours, Sequence) and not isinstance(ours, str):
            return len(theirs) == len(ours) and all(map(same, theirs, ours))
        return any(same(value, ours) for value in theirs)
    if isinstance(theirs, int | float) and isinstance(ours, int | float):
        # Means and deviations of pixels are the fractions of which a thousandth is nothing; rates and decays are smaller.
        near = SMALLEST if 0.1 < abs(theirs) < 1 and 0.1 < abs(ours) < 1 else 0
        return math.isclose(theirs, ours, rel_tol=1e-4, abs_tol=near)
    return bool(theirs == ours)


def text(name: str, value: Any) -> str:
    """Write a value of the field `name` in words."""
    if name == "learning_rate" and isinstance(value, Mapping):
        first, *later = [f"{rate:g} from {epoch}" for epoch, rate in value.items()]
        return ", ".join([first.partition(" ")[0], *later])
    if name == "normalisation":
        mean, std = (" ".join(f"{number:g}" for number in half) for half in value)
        return f"{mean} ± {std}"
    if name == "augment":
        return _shown(value)
    if name == "compression" and isinstance(value, Sequence) and len(value) > 4:
        return f"{len(value)} from {value[0]:g}x to {value[-1]:g}x"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(f"{item:g}x" if name == "compression" else f"{item}" for item in value)
    if name == "parameters":
        return f"{value:,}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _shown(augment: Mapping[str, Any]) -> str:
    said = []
    if "pad" in augment:
        said.append(f"border of {augment['pad']} and crop")
    if "shift" in augment:
        said.append(f"shift by up to {augment['shift']}")
    if "area" in augment:
        low, high = augment["area"]
        narrow, wide = augment["ratio"]
        said.append(f"crops of {low:g} to {high:g} of the area, ratio {narrow:g} to {wide:g}")
    return ", ".join([*said, *["mirrored"] * augment.get("flip", False)]) or "none"


def _augmentation(trial: Trial) -> dict[str, Any]:
    """How training images are altered: `pad`, a black border before the crop, `area` and `ratio` of a crop, `flip`."""
    spec = datasets.lookup(trial.dataset)
    if spec.path == "stream":
        return {"area": [0.08, 1], "ratio": [0.75, 1.3333], "flip": True}
    return {
        "none": {},
        "crop": {"pad": spec.padding},
        "crop-flip": {"pad": spec.padding, "flip": True},
    }[spec.augment]


def _initialisation(trial: Trial) -> str:
    """The name of how weights are drawn; "" where that has none."""
    return getattr(trial, "init", "") or getattr(architecture_of(trial.architecture, trial.architecture_code), "init", "")


def _options(trial: Trial, pruner: Pruner) -> dict[str, Any]:
    """The pruner's own settings, defaults filled in."""
    return {**pruner.options, **getattr(pruner, "unrecorded", {}), **trial.options}
