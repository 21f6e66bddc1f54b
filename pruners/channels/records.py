"""Records of a network's channels: the operations that they pass, and the groups that they form."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from pruners.errors import PruningError

OperationKind = Literal["input", "layer", "norm", "pointwise", "pool", "join", "mix", "output"]
PrunableLayer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


class UnfollowableError(PruningError):
    """Error for a network with an operation whose effect on channels is not known; the message names it."""


@dataclass(frozen=True)
class Step:
    """One operation of the network, named like its result, and the results that it reads."""

    kind: OperationKind
    name: str
    sources: tuple[str, ...]
    module: nn.Module | None = None
    apply: Callable[..., Tensor] | None = None  # pointwise: one value per channel of each source -> one per channel
    gate: bool = False  # pointwise: zero stays zero, and no gradient passes there


@dataclass
class Channels:
    """The channels of a network, numbered by group: channels of one group can only be removed together.

    Channels form a group if a residual connection adds them up, or if they belong to one group of a convolution.
    """

    steps: list[Step] = field(default_factory=list)  # in the order of computation
    groups: dict[str, Tensor] = field(default_factory=dict)  # result of a step -> group of each channel (C,)
    outputs: dict[nn.Module, Tensor] = field(default_factory=dict)  # layer or norm -> group of each output channel
    inputs: dict[nn.Module, Tensor] = field(default_factory=dict)  # layer -> group of each input channel
    fixed: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))  # (groups,): never removed


def widen(values: Tensor, size: int) -> Tensor:
    """Expand values per channel (..., C) to values per feature (..., size), as flattening does.

    Flattening turns each channel into `size / C` adjacent features. Raises UnfollowableError if C does not divide size.
    """
    if size % values.shape[-1]:
        raise UnfollowableError(f"{values.shape[-1]} channels do not divide {size} features.")
    return values.repeat_interleave(size // values.shape[-1], dim=-1)
