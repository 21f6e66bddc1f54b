"""Conversion of scores of any data types to one type in which they compare exactly."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pruners.errors import PruningError

_EXACT = 2**53  # float64 holds all integers up to here


def comparable(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the scores in one floating type, in the order of their exact values.

    The type is float32, or float64 if a score is float64 or an integer. If there are integers beyond 2**53, which
    float64 would round, all scores are replaced by their ranks among the distinct values. Scores in float32 are
    returned as they are, detached.
    """
    detached = {name: score.detach() for name, score in scores.items()}
    integers = {name: score for name, score in detached.items() if not score.is_floating_point()}
    if any(_beyond_float64(score) for score in integers.values()):
        return _ranks(detached)
    double = integers or any(score.dtype == torch.float64 for score in detached.values())
    # Half precision is compared as float32, which is exact; numpy has no bfloat16.
    return {name: score.to(torch.float64 if double else torch.float32) for name, score in detached.items()}


def _beyond_float64(score: Tensor) -> bool:
    if score.dtype not in (torch.int64, torch.uint64) or not score.numel():
        return False
    low, high = (int(end) for end in _whole(score).aminmax())
    return low < -_EXACT or high > _EXACT


def _whole(score: Tensor) -> Tensor:
    """Return an integer or boolean score as int64."""
    if score.dtype == torch.uint64 and (score.view(torch.int64) < 0).any():
        raise PruningError("Scores of type uint64 must be below 2**63.")
    return score.to(torch.int64)


def _ranks(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the rank of each score among all distinct values, as float64."""
    device = next(iter(scores.values())).device
    keys = torch.cat([_keys(score.flatten().to(device)) for score in scores.values()], dim=1)
    ranks = torch.unique(keys, dim=1, return_inverse=True)[1].double()
    parts = ranks.split([score.numel() for score in scores.values()])
    return {
        name: part.view(score.shape).to(score.device) for (name, score), part in zip(scores.items(), parts, strict=True)
    }


def _keys(row: Tensor) -> Tensor:
    """Return int64 (2, n): each value as float64, and what that rounds away; columns are ordered as `row` (n,) is."""
    if row.is_floating_point():
        rough, rest = row.double(), torch.zeros_like(row, dtype=torch.int64)
    else:
        whole = _whole(row)
        rough = whole.double()
        top = rough == 2.0**63  # rounded up beyond the largest int64
        rest = torch.where(top, whole - torch.iinfo(torch.int64).max - 1, whole - rough.masked_fill(top, 0).long())
    bits = (rough + 0.0).view(torch.int64)  # -0.0 becomes 0.0
    return torch.stack([torch.where(bits < 0, bits ^ torch.iinfo(torch.int64).max, bits), rest])
