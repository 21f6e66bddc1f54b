"""Recipe of a trial's record, with the names and units of the published recipes."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

import torch
from torch import nn

from orchestrator.report.recipe_fields import UNSAID
from pruners import lookup as pruner_of
from pruners.pruner import Pruner
from search_spaces import TRAINING, Network, Trial
from trainables import datasets
from trainables.architectures import build
from trainables.architectures import lookup as architecture_of
from trainables.datasets.dataset import SCORING_BATCH
from trainables.datasets.spec import DatasetSpec
from trainables.measures import MEASURES
from trainables.training.optimizer import LearningRate, make_optimizer

PRUNABLE = "weights of convolutions and linear layers"
PLAIN = "plain and as many of each class"
TRAINED = (
    *("epochs", "batch_size", "optimizer", "weight_decay", "warmup_epochs", "label_smoothing", "validation"),
    *UNSAID,
)


def facts(trial: Trial, asked: Collection[str]) -> dict[str, Any]:
    """Return how the trial's network is built, trained and pruned, without settings that have no effect.

    Names that are not fields of a trial: `learning_rate` maps an epoch, from 1, to the rate from then on;
    `normalisation` is mean and standard deviation per channel; `scoring_batch` is a number of images. The network is
    built only if `parameters` is in `asked`. A user's own images and pruners are left out.
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
        found["learning_rate"] = rates(
            trial.epochs, trial.lr, trial.lr_schedule, trial.lr_drops, trial.lr_factor, trial.warmup_epochs
        )
        if trial.optimizer in ("sgd", "rmsprop"):
            found["momentum"] = trial.momentum
        if trial.optimizer == "sgd":
            found["nesterov"] = trial.nesterov
    if trial.pruner != "dense" and not trial.mask and not trial.code:
        found |= _pruning(trial, pruner_of(trial.pruner))
    return found


@cache
def parameters(network: Network, dataset: str) -> int:
    """Return the number of parameters of the network for the images of a dataset, built without values."""
    spec = datasets.lookup(dataset)
    with torch.device("meta"):
        model = build(network.fresh, spec.input_shape, spec.num_classes, seed=0)
    return sum(parameter.numel() for parameter in model.parameters())


@cache
def rates(
    epochs: int, lr: float, schedule: str, drops: tuple[int, ...], factor: float, warmup: int = 0
) -> dict[int, float]:
    """Return the learning rates by the first epoch, from 1, that has each, computed by the trials' own scheduler.

    Epochs of the warm-up have the rate at its end.
    """
    fields = {"lr_schedule": schedule, "lr_drops": drops, "lr_factor": factor, "warmup_epochs": warmup}
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
        **pruner.recorded(trial.options),
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
        # If weights are drawn again after scoring, the scored weights are not those that train.
        found["scoring_weights"] = "others" if trial.ablation == "reinitialize" else "those that train"
    if trial.pruner == "grasp":
        found["keeps"] = f"the {'smallest' if trial.ablation == 'invert' else 'largest'} w (Hg)"
    if pruner.levels:
        rewound = f"to those of epoch {trial.rewind_epoch}" if trial.rewind_epoch else "to the first weights"
        found |= {"levels": trial.levels, "rewind": rewound}
    return found


def _augmentation(trial: Trial, spec: DatasetSpec) -> dict[str, Any]:
    """Return how training images are altered: a crop's border `pad`, or its `area` and `ratio`; `flip`; `some`."""
    how = datasets.AUGMENTATIONS[trial.augment] if trial.augment else spec.augment
    crop = {"area": how.area, "ratio": how.ratio} if how.area else {"pad": how.padding} if how.padding else {}
    return crop | {key: True for key in ("flip", "some") if getattr(how, key)}


def _initialisation(trial: Trial) -> str:
    """Return the name of the initialisation; "" if it has none."""
    return trial.init or architecture_of(trial.architecture, trial.architecture_code).init
