"""The records that travel: a trial (one computation) and a cell (one point of the grid)."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from search_spaces.density import density_of
from search_spaces.labels import short
from search_spaces.network import COMMON, Network

# Of masks that are given, these fields say where they come from. The result follows from the masks alone.
ORIGIN = (
    "pruner", "compression", "granularity", "scope", "schedule", "iterations", "mode", "samples_per_class", "options",
    "code",
)  # fmt: skip

Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

LONGEST_PARAM, LONGEST_NAME = 500, 60  # characters
TRAINING = "training"  # the measure that all trials have unless another is asked for


class Trial(BaseModel):
    """One computation, determined by these fields and nothing else.

    A default value here is a promise: the fingerprint hashes only what differs from it, so a default never
    changes, and a field added later must default to what trials did before it existed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    data_digest: str = ""  # of the files, where `dataset` names a folder: other images are another trial
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the training images held out, for choosing
    augment: str = ""  # how training images are altered; "" = as the dataset's are

    architecture: str
    architecture_options: dict[str, Any] = {}  # only what differs from the architecture's own
    architecture_code: str = ""  # the text of the file, where `architecture` names a user's own: `my_file.py:build`
    pretrained: str = ""  # where the first weights come from; "" = they are drawn
    init: str = ""  # how the weights are drawn; "" = as the architecture does
    dense_classifier: bool = False  # the last linear layer is not prunable
    keep_dense: tuple[str, ...] = ()  # glob patterns of parameter names that are not prunable

    pruner: str = "dense"
    compression: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    kappa: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of filters removed, whatever compression comes of it
    granularity: str = "weight"
    scope: str = "global"
    schedule: str = "oneshot"
    iterations: Count = 1
    mode: str = "eval"
    samples_per_class: Count = 10
    options: dict[str, Any] = {}
    mask: str = ""  # the content of masks that are given: nothing is scored, and `ORIGIN` tells who made them
    code: str = ""  # the text of the file, where `pruner` names a user's own: `my_file.py:MyScore`
    ablation: Literal["none", "shuffle", "invert", "reinitialize"] = "none"
    pretrain_epochs: Annotated[int, Field(ge=0)] = 0  # of dense training before; `epochs` then fine-tune
    levels: Annotated[int, Field(ge=0)] = 0  # prunings, each of trained weights and followed by a rewind
    rewind_epoch: Annotated[int, Field(ge=0)] = 0  # of the dense training: where a level starts over

    measure: str = TRAINING  # what is found out: how well the pruned network trains, or another of `Catalog.measures`

    seed: Annotated[int, Field(ge=0)] = 0
    epochs: Annotated[int, Field(ge=0)] = 160
    batch_size: Annotated[int, Field(ge=2)] = 128
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    momentum: NonNegative = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 1e-4
    lr_schedule: Literal["constant", "step", "cosine"] = "constant"
    lr_drops: tuple[Count, ...] = ()
    lr_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup_epochs: Annotated[int, Field(ge=0)] = 0  # in which the learning rate rises to `lr`, step by step
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    accumulate: Count = 1  # micro-batches of a step: the gradient of the batch in less memory
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay of the moving average that is tested; 0: the weights are
    # Of forward and backward passes in training; weights, scores and tests are IEEE float32. "tf32" is for NVIDIA GPUs.
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    cudnn_benchmark: bool = False  # cuDNN times its kernels and takes the fastest: not the same ones in every run

    @property
    def network(self) -> Network:
        """What its model is built of."""
        return Network(
            name=self.architecture,
            options=tuple(sorted(self.architecture_options.items())),
            code=self.architecture_code,
            **{key: getattr(self, key) for key in COMMON},
        )

    @property
    def density(self) -> float:
        """The fraction of prunable weights kept."""
        return float(density_of(self.compression))

    @property
    def epochs_to_train(self) -> int:
        """Epochs of all its trainings, without the dense one that it may start from."""
        again = self.epochs - self.rewind_epoch  # in each level
        return self.rewind_epoch + self.levels * again if self.levels else self.epochs

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: same fingerprint = same trial, ever."""
        return self._hash()

    @property
    def config(self) -> str:
        """The fingerprint of everything but the seed: what repetitions have in common."""
        return self._hash("seed")

    @property
    def scoring(self) -> str:
        """The fingerprint of all but how much is pruned: trials that share it select by the same scores.

        "" if there are none, or if they depend on what was pruned before.
        """
        once = self.pruner != "dense" and not self.mask and self.measure == TRAINING
        return self._hash("compression", "kappa") if once and self.iterations == 1 and not self.levels else ""

    @property
    def name(self) -> str:
        """How people call it: `conv digits snip 10x s0`."""
        what = amount(self) if self.measure == TRAINING else self.measure
        pruning = "dense" if self.pruner == "dense" else f"{self.pruner} {what}"
        return f"{self.network.label} {data_label(self.dataset)} {pruning} s{self.seed}"

    def params(self) -> dict[str, str]:
        """The fields as MLflow params: flat, canonical strings; in full they stand in trial.json."""
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

# The fields of a trial that a cell always tells; of the others those that its space varies, as `settings`.
TOLD = ("dataset", "architecture", "pruner", "compression", "kappa", "mask", "seed")


class Cell(BaseModel):
    """One point of the grid, as the user names it. Several cells may share a trial (at 1x all pruners do).

    Where settings are searched, the cell of the best ones is the answer; all that were tried stand beside it with
    the role "search", and are no results.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    architecture: str
    pruner: str  # as written in the space; with its settings where one pruner stands there twice
    compression: float  # 0: none is asked for; or not known before the trial has run, as kappa decides
    kappa: float = 0.0
    seed: int
    settings: dict[str, Any] = {}  # every other field that the space varies
    searched: dict[str, Any] = {}  # what a search chose
    role: Role = "grid"
    study: str = ""
    fingerprint: str


def amount(pruned: Trial | Cell) -> str:
    """How much is pruned, as it was asked for: `10x`, or `kappa=0.7`."""
    return f"kappa={pruned.kappa:g}" if pruned.kappa else f"{pruned.compression:g}x"


def data_label(dataset: str, parts: int = 1) -> str:
    """How people call the images: `folder:/far/away/flowers` is `flowers`, or `away/flowers` in two `parts`."""
    return short("/".join(PurePath(dataset).parts[-parts:]), LONGEST_NAME)


def version(code: str) -> str:
    """A hash of the text of a user's own file, as its runs in MLflow have it; "" of none."""
    return _digest({"code": code}) if code else ""


def _digest(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
