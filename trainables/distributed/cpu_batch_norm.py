"""Batch norm over the parts of several workers on CPUs: the five kernels that torch has only for GPUs.

Names, arguments and results are those of torch's own kernels, which `torch.nn.SyncBatchNorm` uses, so that one function
(`whole_batches`) serves both. Statistics are per channel of x [B, C, ...]; `counts` [workers] are values per channel.
"""

from __future__ import annotations

import torch
from torch import Tensor


def batch_norm_stats(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the mean and 1 / sqrt(variance + eps) of one worker's part, each [C]."""
    mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
    return mean, (variance + eps).rsqrt()


def batch_norm_gather_stats_with_counts(
    x: Tensor,
    means: Tensor,
    inverses: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
    counts: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the statistics of the whole batch from those of its parts [workers, C]; update the running statistics.

    Variances are combined around the common mean (Chan et al. 1979): sums of squares would cancel.
    """
    weights, total = counts[:, None], counts.sum()
    mean = (weights * means).sum(0) / total
    variance = (weights * (inverses.pow(-2) - eps + (means - mean).square())).sum(0) / total
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean), momentum)
        running_var.lerp_((variance * total / (total - 1)).to(running_var), momentum)
    return mean, (variance + eps).rsqrt()


def batch_norm_elemt(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, inverse: Tensor, eps: float
) -> Tensor:
    """Return (x - mean) * inverse * weight + bias."""
    return torch.batch_norm(x, weight, bias, mean, inverse.pow(-2) - eps, False, 0.0, eps, False)


def batch_norm_backward_reduce(
    gradient: Tensor, x: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor | None, *needed: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the sums of `gradient`, of gradient * (x - mean), and the gradients of weight and bias: each [C]."""
    _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
        gradient, x, None, None, None, mean, inverse, True, 0.0, [False, True, True]
    )
    return of_bias, of_weight / inverse, of_weight, of_bias


def batch_norm_backward_elemt(
    gradient: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    sum_dy: Tensor,
    sum_dy_xmu: Tensor,
    counts: Tensor,
) -> Tensor:
    """Return the gradient of x. The sums are over all workers, because each image changes the statistics of all."""
    shape = [1, -1, *[1] * (x.dim() - 2)]
    slope = inverse if weight is None else inverse * weight
    total = counts.sum()
    tilt = -slope * sum_dy_xmu * inverse.square() / total
    shift = -slope * sum_dy / total - tilt * mean
    result = torch.addcmul(shift.view(shape), x, tilt.view(shape), out=torch.empty_like(x))
    return result.addcmul_(gradient, slope.view(shape))
