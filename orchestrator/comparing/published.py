"""Published accuracies under our names: one place that knows what their networks, pruners and recipes are called.

The rows are those of the public record whose evidence is `exact` (the authors' own data) or `transcribed` (typed
from a table). Nothing here is ours; where a recipe is known it is written down, so that a gap is not read as an error.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any

from search_spaces import Trial

SYNFLOW, COS598D, COS568, FRANKLE, NTK_SAP = (
    "SynFlow (Tanaka 2020)", "COS598D student", "COS568 student", "COMP6258", "NTK-SAP (Wang 2023",
)  # fmt: skip
# One name stands for several networks: SynFlow's "lottery" VGG has one linear layer and its "tinyimagenet" VGG three;
# its "tinyimagenet" ResNet-18 keeps the resolution of the images, and so does its wide one, which never used its
# width. What is not listed has no counterpart here.
ARCHITECTURES = {
    "vgg11_bn(lottery)": "vgg11-bn",
    "vgg16_bn(lottery)": "vgg16-bn",
    "vgg11_bn(tinyimagenet)": "vgg11-bn-tiny",
    "vgg16_bn(tinyimagenet)": "vgg16-bn-tiny",
    "vgg16_bn": "vgg16-bn",
    "vgg16 (lottery, NO BatchNorm)": "vgg16",
    "vgg19": "vgg19",
    "resnet20 (lottery)": "resnet20",
    "resnet56": "resnet56",
    "resnet18(tinyimagenet)": "resnet18-cifar",
    "wide_resnet18(tinyimagenet)": "resnet18-cifar",
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "fc (default mlp)": "mlp",
}
SMALL_IMAGES = {"resnet18": "resnet18-cifar", "resnet50": "resnet50-cifar"}  # the same names beyond ImageNet
PRUNERS = {
    "rand": "random", "mag": "magnitude", "snip": "snip", "grasp": "grasp", "synflow": "synflow", "dense": "dense",
    "itersnip": "iter-snip", "ntksap": "ntk-sap", "rigl": "rigl", "rigl_erk": "rigl", "rigl_uniform": "rigl",
    "set": "set", "set_erk": "set", "gradual_magnitude": "gradual", "lth_rewind_epoch0": "imp",
    "static_random": "random",
}  # fmt: skip
ABLATIONS = {"shuffled": "shuffle", "reinit": "reinitialize", "inverted": "invert"}
STAND_INS = {"cifar10-jpeg75": "cifar10", "cifar10-exact-subset": "cifar10"}
BATCH = {"optimizer": "sgd", "batch_size": 128, "momentum": 0.9, "nesterov": True, "lr_schedule": "step"}
LOTTERY = BATCH | {"lr": 0.1, "lr_drops": (60, 120), "lr_factor": 0.1, "weight_decay": 1e-4}
RESNET = BATCH | {"lr": 0.01, "lr_drops": (60, 120), "lr_factor": 0.2, "weight_decay": 5e-4}
TINY = BATCH | {"lr": 0.01, "lr_drops": (30, 60, 80), "lr_factor": 0.2, "weight_decay": 1e-4}
ADAM = {"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "lr_schedule": "constant"}


@dataclass(frozen=True)
class Published:
    """One published result. Accuracies in percent; `epoch` says whose: `best`, `last`, or empty if nobody says."""

    source: str
    figure: str
    dataset: str
    network: str  # as they call it
    pruner: str
    ablation: str
    compression: float
    epochs: str
    top1: float
    std: float | None
    epoch: str

    @property
    def title(self) -> str:
        """Source and figure, without the numbers of stored files: no name that helps a reader."""
        return f"{re.sub(r' [(](?:stored )?file id [^)]*[)]', '', self.source)}, {self.figure}"

    @property
    def architecture(self) -> str:
        """What the network is called here."""
        ours = ARCHITECTURES[self.network]
        return ours if self.dataset == "imagenet" else SMALL_IMAGES.get(ours, ours)

    @property
    def recipe(self) -> dict[str, Any]:
        """What is known of how it was made, in the fields of a trial."""
        known: dict[str, Any] = {"epochs": int(self.epochs)} if self.epochs.isdigit() else {}
        if self.source.startswith(SYNFLOW):
            tiny = self.dataset == "tiny-imagenet"
            known |= TINY if tiny else LOTTERY if "lottery" in self.network else RESNET
        if self.source.startswith((COS598D, COS568)):
            known |= ADAM | ({"batch_size": 256} if self.source.startswith(COS598D) else {})
        if self.source.startswith((SYNFLOW, COS598D)) and self.pruner != "dense":
            known |= {"mode": "eval", "scope": "global"}
            once = self.pruner != "synflow" or self.source.startswith(COS598D)
            known |= {"iterations": 1 if once else 100}
        if self.pruner == "magnitude" and not self.source.startswith(FRANKLE):
            known |= {"pretrain_epochs": 200 if self.source.startswith((COS598D, COS568)) else 0}
        return known


@cache
def published() -> tuple[Published, ...]:
    """All rows that have a counterpart here."""
    text = resources.files("orchestrator.comparing").joinpath("published.csv").read_text("utf-8")
    return tuple(row for line in csv.DictReader(text.splitlines()) if (row := _row(line)) is not None)


def counterpart(dataset: str, network: str) -> tuple[str, str]:
    """Dataset and architecture by the names under which others may have published: `(cifar10, vgg16-bn)`."""
    return STAND_INS.get(dataset, dataset), network.partition(" ")[0]


def for_trial(trial: Trial, pruner: str) -> list[Published]:
    """The rows for a trial's dataset, architecture, pruner and ablation, of every compression."""
    where = counterpart(trial.dataset, trial.architecture)
    return [
        row
        for row in published()
        if (row.dataset, row.architecture) == where
        and row.pruner == pruner
        and row.ablation == trial.ablation
        and trial.granularity == "weight"  # all of them prune single weights
        and not trial.architecture_options  # of another width, it is another network
    ]


def at(rows: Sequence[Published], compression: float) -> tuple[float, str] | None:
    """Their accuracy at a compression, in percent, and how it was found: as given, or between which neighbours.

    Between neighbours at most four times apart it is interpolated, in the logarithm of the compression; beyond the
    ends there is none.
    """
    known = sorted(rows, key=lambda row: row.compression)
    for row in known:
        if abs(row.compression / compression - 1) < 0.01:
            return row.top1, ""
    for low, high in pairwise(known):
        if low.compression < compression < high.compression <= 4 * low.compression:
            share = math.log(compression / low.compression) / math.log(high.compression / low.compression)
            return low.top1 + share * (
                high.top1 - low.top1
            ), f"between {low.compression:.3g}x and {high.compression:.3g}x"
    return None


def differences(trial: Trial, row: Published) -> list[str]:
    """What is known to differ between a trial and a published result, in words."""
    said = []
    if trial.dataset != row.dataset:
        said.append(f"images: {trial.dataset} here stands in for {row.dataset}")
    for key, theirs in row.recipe.items():
        ours = getattr(trial, key)
        if ours != theirs and not (trial.pruner == "dense" and key in ("iterations", "mode", "scope")):
            said.append(f"{key}: {_text(theirs)} there, {_text(ours)} here")
    if row.network.startswith("wide_resnet18"):
        said.append("their WideResNet18 never used its width: these are further runs of their ResNet-18")
    if not row.epochs.isdigit():
        said.append(f"epochs: {row.epochs or 'not said'} there, {trial.epochs} here")
    if row.epoch == "best":
        said.append("theirs is the best epoch on the test set; compared with our best epoch, not our last")
    elif not row.epoch:
        said.append("whether theirs is the best or the last epoch is not said; compared with our last")
    if row.pruner == "grasp" and row.source.startswith(SYNFLOW):
        said.append("their GraSP is of before its sign was corrected (2020-08): probably another ranking")
    return said


def _row(line: dict[str, str]) -> Published | None:
    name, _, suffix = line["pruner"].partition("_")
    ablated = suffix in ABLATIONS
    pruner = PRUNERS.get(name if ablated else line["pruner"])
    if pruner is None or line["architecture"] not in ARCHITECTURES or "MISLABELLED" in line["notes"].upper():
        return None
    notes = line["notes"]
    epoch = "best" if re.search(r"best-epoch test acc", notes, re.I) else "last" if "last-epoch" in notes else ""
    return Published(
        source=line["source"],
        figure=line["figure_or_table"],
        dataset=line["dataset"],
        network=line["architecture"],
        pruner=pruner,
        ablation=ABLATIONS[suffix] if ablated else "none",
        compression=float(line["compression_x"]),
        epochs=line["epochs"].partition(" ")[0].lstrip("~") if line["epochs"] else "",
        top1=float(line["top1_mean"]),
        std=float(line["top1_std"]) if line["top1_std"] else None,
        epoch=epoch,
    )


def _text(value: Any) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else f"{value}"
