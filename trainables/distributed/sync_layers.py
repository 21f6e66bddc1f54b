"""Layers that must see the whole batch when each worker has a part of it: batch norm, dropout, stochastic depth.

The functions are replaced, not the layers. So layers of other libraries that call them are right too, and a network is
the same object with one worker or with many, for masks, checkpoints, compaction and folding. Batch norm uses the
kernels of `torch.nn.SyncBatchNorm`, but not its autograd function: that waits for the GPU in every layer to leave out
empty parts (19 times a step on ResNet-20), and in bfloat16 it sends the zeros of an empty part as bfloat16 where the
other workers expect float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.distributed import cpu_batch_norm
from trainables.distributed.group import Team

_batch_norm, _dropout, _bernoulli = F.batch_norm, F.dropout, Tensor.bernoulli_


@dataclass
class Share:
    """Images of a micro-batch that are this worker's: `count` of `total`, from `start` on."""

    start: int = 0
    count: int = 0
    total: int = 0


@contextmanager
def whole_batches(team: Team, share: Share) -> Iterator[None]:
    """Make batch norm and random draws in train mode treat a part of a batch as in the whole batch, inside the context.

    The draws are those of `F.dropout` and `Tensor.bernoulli_` (stochastic depth of torchvision and timm) for tensors
    whose first dimension is the batch's. Other draws are unchanged: each worker draws for its part alone, and all
    workers draw the same numbers; if parts have unequal sizes, the workers' random streams then diverge.
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
        half = not x.is_cuda and x.dtype in (torch.float16, torch.bfloat16)  # the CPU's kernels do not mix dtypes
        normed: Tensor = _WholeBatchNorm.apply(
            x.float() if half else x, weight, bias, running_mean, running_var, momentum, eps, team
        )
        return normed.to(x.dtype)

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not 0 < p < 1 or len(x) != share.count:
            return _dropout(x, p, training, inplace)
        return x * torch.empty_like(x).bernoulli_(1 - p).div_(1 - p)

    def bernoulli_(x: Tensor, p: Any = 0.5, **options: Any) -> Tensor:
        if isinstance(p, Tensor) or not x.dim() or len(x) != share.count:
            return _bernoulli(x, p, **options)
        # All workers draw for the whole batch, as a single worker would: they have the same seed.
        rows = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        whole = torch.empty(share.total, *x.shape[1:], dtype=x.dtype, device=x.device, memory_format=rows)
        _bernoulli(whole, p, **options)  # draws in the order of memory
        return x.copy_(whole[share.start : share.start + share.count])

    F.batch_norm, F.dropout = batch_norm, dropout  # type: ignore[assignment]
    Tensor.bernoulli_ = bernoulli_  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        F.batch_norm, F.dropout = _batch_norm, _dropout
        del Tensor.bernoulli_  # the method of the base class is visible again


class _WholeBatchNorm(torch.autograd.Function):
    """Batch norm of [B, C, ...] in train mode over the parts of all workers: one collective forward, one backward."""

    @staticmethod
    def forward(  # noqa: PLR0913 - torch fixes the form
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
        team: Team,
    ) -> Tensor:
        """Return what F.batch_norm would return for this part of the batch. A part may be empty, but not the first."""
        kernels: Any = torch if x.is_cuda else cpu_batch_norm
        x, channels = _dense(x), x.shape[1]
        if x.numel():
            mean, inverse = kernels.batch_norm_stats(x, eps)
        else:  # its count is 0; 1 / sqrt(variance) is not zero, because the kernels divide by it
            half = x.dtype in (torch.float16, torch.bfloat16)
            mean = torch.zeros(channels, dtype=torch.float32 if half else x.dtype, device=x.device)
            inverse = torch.ones_like(mean)
        rows = team.gather(torch.cat([mean, inverse, mean.new_full((1,), x.numel() // channels)]))
        means, inverses, counts = torch.split(rows, [channels, channels, 1], 1)
        counts = counts.flatten()
        # torch takes only the dtype of the counts from its first argument; `x` may be bfloat16, exact only up to 256.
        mean, inverse = kernels.batch_norm_gather_stats_with_counts(
            means, means, inverses, running_mean, running_var, momentum, eps, counts
        )
        ctx.team, ctx.kernels = team, kernels
        ctx.save_for_backward(x, weight, mean, inverse, counts.int())
        result: Tensor = kernels.batch_norm_elemt(x, weight, bias, mean, inverse, eps) if x.numel() else x.clone()
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, counts = ctx.saved_tensors
        kernels, needed = ctx.kernels, ctx.needs_input_grad[:3]
        gradient = _dense(gradient)
        of_weight = of_bias = None
        if x.numel():
            sum_dy, sum_dy_xmu, of_weight, of_bias = kernels.batch_norm_backward_reduce(
                gradient, x, mean, inverse, weight, *needed
            )
        else:
            sum_dy, sum_dy_xmu = torch.zeros_like(mean), torch.zeros_like(mean)
            of_weight, of_bias = (torch.zeros_like(weight) if need else None for need in needed[1:])
        of_x = None
        if needed[0]:  # on all workers or on none: they have the same network
            sum_dy, sum_dy_xmu = ctx.team.sum(torch.stack([sum_dy, sum_dy_xmu]))
            of_x = gradient
            if x.numel():
                of_x = kernels.batch_norm_backward_elemt(gradient, x, mean, inverse, weight, sum_dy, sum_dy_xmu, counts)
        return of_x, of_weight if needed[1] else None, of_bias if needed[2] else None, None, None, None, None, None


def _dense(x: Tensor) -> Tensor:
    """Return `x`, or a copy in a memory format that the kernels take."""
    wide = x.dim() in (4, 5)
    formats = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    return x if wide and x.is_contiguous(memory_format=formats) else x.contiguous()
