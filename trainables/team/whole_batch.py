"""Layers that must see the whole batch, where each worker has a part of it: batch norm and dropout.

torch's own synchronised batch norm is for GPUs only. Here the functions are replaced, not the layers: so other
people's layers that call them are right too, and a network is the same object with one worker or with many.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.team.team import Team

_batch_norm, _dropout = F.batch_norm, F.dropout


@dataclass
class Share:
    """Which images of a micro-batch are this worker's: so many from `start` on, of `total`."""

    start: int = 0
    count: int = 0
    total: int = 0


@contextmanager
def whole_batches(team: Team, share: Share) -> Iterator[None]:
    """Inside, batch norm and dropout in train mode do to a part of a batch what they would do to it in the whole.

    Dropout of tensors whose first dimension is not the batch's is left as it is, and so is all that draws by itself
    (stochastic depth): each worker draws for its part alone, all of them the same numbers. Where parts have unequal
    sizes the workers' streams part there, so that later dropout is fair, but no longer what one worker would draw.
    """

    def batch_norm(
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return _batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        normed, mean, var = _Normalised.apply(wide, eps, team)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean), momentum)
                running_var.lerp_(var.to(running_var), momentum)
        if weight is not None:
            normed = normed * _along(weight, x)
        found: Tensor = normed if bias is None else normed + _along(bias, x)
        return found.to(x.dtype)

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not 0 < p < 1 or len(x) != share.count:
            return _dropout(x, p, training, inplace)
        # All workers draw for the whole batch, as one would: they are seeded alike.
        noise = x.new_empty(share.total, *x.shape[1:]).bernoulli_(1 - p).div_(1 - p)
        return x * noise[share.start : share.start + share.count]

    F.batch_norm, F.dropout = batch_norm, dropout  # type: ignore[assignment]
    try:
        yield
    finally:
        F.batch_norm, F.dropout = _batch_norm, _dropout


class _Normalised(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) by channel of [B, C, ...], over the parts of all workers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, team: Team) -> tuple[Tensor, Tensor, Tensor]:
        """Also the mean and the unbiased variance [C]."""
        dims = [0, *range(2, x.dim())]
        sums = team.sum(torch.cat([x.sum(dims), x.new_tensor([x.numel() // x.shape[1]])]))
        mean, n = sums[:-1] / sums[-1], sums[-1]
        centred = x - _along(mean, x)
        squares = team.sum(centred.square().sum(dims))
        inverse = (squares / n + eps).rsqrt()
        normed = centred * _along(inverse, x)
        ctx.team, ctx.dims = team, dims
        ctx.save_for_backward(normed, inverse, n)
        ctx.mark_non_differentiable(mean, var := squares / (n - 1))
        return normed, mean, var

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        """Each image moves the mean and the variance of all."""
        slope, (normed, inverse, n) = slopes[0], ctx.saved_tensors
        sums = torch.stack([slope.sum(ctx.dims), (slope * normed).sum(ctx.dims)])
        mean, spread = ctx.team.sum(sums) / n
        return (slope - _along(mean, slope) - normed * _along(spread, slope)) * _along(inverse, slope), None, None


def _along(values: Tensor, x: Tensor) -> Tensor:
    """Values of channels, to be combined with [B, C, ...]."""
    return values.view(1, -1, *[1] * (x.dim() - 2))
