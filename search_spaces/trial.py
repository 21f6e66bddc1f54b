"""Records of a trial (one computation) and of a cell (one point of the grid), with their fingerprints and names."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from search_spaces.density import density_of
from search_spaces.labels import short
from search_spaces.network import COMMON, Network

# If masks are given, these fields only record where they come from. The result depends on the masks alone.
ORIGIN = (
    "pruner", "compression", "granularity", "scope", "schedule", "iterations", "mode", "samples_per_class", "options",
    "code",
)  # fmt: skip

Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

LONGEST_PARAM, LONGEST_NAME = 500, 60  # characters
TRAINING = "training"  # the measure of all trials that ask for no other


class Trial(BaseModel):
    """Record of one computation, whose result these fields determine and nothing else.

    The fingerprint hashes only values that differ from their defaults. So a default must never change, and a field
    added later must default to what trials did before it existed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    data_digest: str = ""  # hash of the files if `dataset` is a folder: other images are another trial
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the training images held out for model selection
    augment: str = ""  # augmentation of the training images; "" = the dataset's own

    architecture: str
    architecture_options: dict[str, Any] = {}  # only those that differ from the architecture's defaults
    architecture_code: str = ""  # the text of the user's own file, if `architecture` is in one: `my_file.py:build`
    pretrained: str = ""  # source of the initial weights; "" = drawn at random
    init: str = ""  # initialisation of the weights; "" = the architecture's own
    dense_classifier: bool = False  # the last linear layer is not prunable
    keep_dense: tuple[str, ...] = ()  # glob patterns of parameter names that are not prunable

    pruner: str = "dense"
    compression: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    kappa: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of filters removed; the compression follows from it
    granularity: str = "weight"
    scope: str = "global"
    schedule: str = "oneshot"
    iterations: Count = 1
    mode: str = "eval"
    samples_per_class: Count = 10
    options: dict[str, Any] = {}
    mask: str = ""  # hash of the content of given masks: nothing is scored, and the fields `ORIGIN` record their source
    code: str = ""  # the text of the user's own file, if `pruner` is in one: `my_file.py:MyScore`
    ablation: Literal["none", "shuffle", "invert", "reinitialize"] = "none"
    pretrain_epochs: Annotated[int, Field(ge=0)] = 0  # epochs of dense training before pruning; `epochs` then fine-tune
    levels: Annotated[int, Field(ge=0)] = 0  # number of prunings, each of trained weights and followed by a rewind
    rewind_epoch: Annotated[int, Field(ge=0)] = 0  # epoch of the dense training at which each level starts again

    measure: str = TRAINING  # how well the pruned network trains, or one of `Catalog.measures`

    seed: Annotated[int, Field(ge=0)] = 0
    epochs: Annotated[int, Field(ge=0)] = 160
    batch_size: Annotated[int, Field(ge=2)] = 128
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    momentum: NonNegative = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 1e-4
    lr_schedule: Literal["constant", "step", "cosine"] = "constant"
    lr_drops: tuple[Count, ...] = ()
    lr_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup_epochs: Annotated[int, Field(ge=0)] = 0  # epochs in which the learning rate rises to `lr`, step by step
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rand_augment: Annotated[int, Field(ge=0, le=30)] = 0  # magnitude of RandAugment's two operations; 0 = none
    random_erasing: Annotated[float, Field(ge=0, le=1)] = 0.0  # probability that a box of an image is erased
    mixup: NonNegative = 0.0  # parameter of the Beta distribution from which shares are drawn; 0 = none
    cutmix: NonNegative = 0.0  # the same; with both, each batch is mixed by one of them
    accumulate: Count = 1  # micro-batches per step: the gradient of the batch in less memory
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay of the weights' moving average, which is tested; 0 = none
    # Precision of training's passes; weights, scores and tests are IEEE float32. "tf32" is for NVIDIA GPUs.
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    cudnn_benchmark: bool = False  # cuDNN times its kernels and takes the fastest, which differ between runs

    @property
    def network(self) -> Network:
        """Return the record from which the trial's model is built."""
        return Network(
            name=self.architecture,
            options=tuple(sorted(self.architecture_options.items())),
            code=self.architecture_code,
            **{key: getattr(self, key) for key in COMMON},
        )

    @property
    def density(self) -> float:
        """Return the fraction of prunable weights kept."""
        return float(density_of(self.compression))

    @property
    def epochs_to_train(self) -> int:
        """Return the epochs of all trainings of this trial, without the dense one that it may start from."""
        again = self.epochs - self.rewind_epoch  # in each level
        return self.rewind_epoch + self.levels * again if self.levels else self.epochs

    @property
    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that identify the trial: same fingerprint = same trial, ever."""
        return self._hash()

    @property
    def config(self) -> str:
        """Return the fingerprint of all fields but the seed, which all repetitions share."""
        return self._hash("seed")

    @property
    def scoring(self) -> str:
        """Return the fingerprint of all fields but the amount of pruning: trials that share it have the same scores.

        It is "" if there are no scores, or if they depend on what was pruned before.
        """
        once = self.pruner != "dense" and not self.mask and self.measure == TRAINING
        return self._hash("compression", "kappa") if once and self.iterations == 1 and not self.levels else ""

    @property
    def name(self) -> str:
        """Return the name that users see: `conv digits snip 10x s0`."""
        what = amount(self) if self.measure == TRAINING else self.measure
        pruning = "dense" if self.pruner == "dense" else f"{self.pruner} {what}"
        return f"{self.network.label} {data_label(self.dataset)} {pruning} s{self.seed}"

    def params(self) -> dict[str, str]:
        """Return the fields as MLflow params: flat, canonical strings, cut if long; trial.json has them in full."""
        flat = self.model_dump(mode="json")
        for name in ("options", "architecture_options"):
            flat |= {f"{name}.{key}": value for key, value in flat.pop(name).items()}
        for name in ("code", "architecture_code"):
            flat[name] = version(flat[name])
        for name in ("lr_drops", "keep_dense"):
            flat[name] = ",".join(map(str, flat[name]))
        return {key: short(str(value).removesuffix(".0"), LONGEST_PARAM) for key, value in flat.items()}

    def _hash(self, *without: str) -> str:
        exclude = {*without, *(ORIGIN if self.mask else ())}
        return _digest(self.model_dump(mode="json", exclude_defaults=True, exclude=exclude))


Role = Literal["grid", "search"]

# Fields of a trial that every cell has. Of the others, those that the space varies are in `Cell.settings`.
TOLD = ("dataset", "architecture", "pruner", "compression", "kappa", "mask", "seed")


class Cell(BaseModel):
    """One point of the grid, as the user names it. Several cells may share a trial (at 1x all pruners do).

    Where settings are searched, the cell with the best ones is the result. All that were tried have cells with the
    role "search", which are not results.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    architecture: str
    pruner: str  # as written in the space; with its settings if a pruner is listed twice
    compression: float  # 0: none is asked for, or kappa decides and it is unknown before the trial has run
    kappa: float = 0.0
    seed: int
    settings: dict[str, Any] = {}  # every other field that the space varies
    searched: dict[str, Any] = {}  # the values that a search chose
    role: Role = "grid"
    study: str = ""
    fingerprint: str


def amount(pruned: Trial | Cell) -> str:
    """Return the amount of pruning as it was asked for: `10x`, or `kappa=0.7`."""
    return f"kappa={pruned.kappa:g}" if pruned.kappa else f"{pruned.compression:g}x"


def data_label(dataset: str, parts: int = 1) -> str:
    """Return a dataset's label: `folder:/far/away/flowers` is `flowers`, or `away/flowers` in two `parts`."""
    return short("/".join(PurePath(dataset).parts[-parts:]), LONGEST_NAME)


def version(code: str) -> str:
    """Return a hash of the text of a user's own file, as recorded in its MLflow runs; "" if there is no text."""
    return _digest({"code": code}) if code else ""


def _digest(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
