"""Operators whose CUDA kernels the CPU does not have under the same name, or does with other side effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pretended_gpu.kernels import Kernel
from pretended_gpu.library import is_capturing, launch, library
from pretended_gpu.memory import in_private_pool, is_pinned, on_cpu

aten = torch.ops.aten
NO_PINNED = (
    "Cannot copy between CPU and CUDA tensors during CUDA graph capture unless the CPU tensor is pinned. "
    "Please use tensor.pin_memory() or allocate the tensor with pin_memory=True."
)


def copy_(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy between GPUs, or between host and GPU: the host waits unless told otherwise."""
    with torch._C.DisableTorchFunction(), torch.no_grad():
        device = (target if target.is_cuda else source).device.index
        host = None if target.is_cuda and source.is_cuda else source if target.is_cuda else target
        if is_capturing(device) and host is not None and not is_pinned(host):
            raise RuntimeError(NO_PINNED)
        if target.numel() == 0:
            return target
        to, what = (on_cpu(target) if target.is_cuda else target), (on_cpu(source) if source.is_cuda else source)
        with torch.cuda.device(device):
            kind = "device to device" if host is None else "host to device" if target.is_cuda else "device to host"
            recorded = launch("" if host is not None else "copy_", device, lambda: to.copy_(what))
            library.pretended_count(f"copy/{kind}".encode(), 1)
            if not recorded or (target.is_cuda and in_private_pool(target)):
                to.copy_(what)
            if host is not None and not recorded and not (non_blocking and (target.is_cuda or is_pinned(host))):
                torch.cuda.current_stream().synchronize()
        return target


def _cudnn_batch_norm(*args: Any) -> tuple[Tensor, ...]:
    return (*aten.native_batch_norm.default(*args), torch.empty(0, dtype=torch.uint8))


def _cudnn_batch_norm_backward(
    x: Tensor,
    grad: Tensor,
    weight: Tensor,
    _mean: Any,
    _var: Any,
    mean: Tensor,
    invstd: Tensor,
    eps: float,
    _space: Any,
) -> tuple[Tensor, ...]:
    found = aten.native_batch_norm_backward.default(
        grad, x, weight, None, None, mean, invstd, True, eps, [True, True, True]
    )
    return tuple(found)


def _native_dropout(x: Tensor, p: float, train: bool | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    if train is False or p == 0:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    kept = torch.rand(x.shape, generator=generator) >= p
    return x * kept * (1 / (1 - p) if p < 1 else 0.0), kept


class _Dropout(Kernel):
    """`native_dropout` draws from the default generator, which its schema does not tell."""

    def __init__(self) -> None:
        super().__init__(aten.native_dropout.default, _native_dropout)
        self._generator = "generator"
        self._keyword_only = {"generator"}
        self._parameters = [*self._parameters, "generator"]


# What SyncBatchNorm is made of. Statistics are per channel, which is dimension 1, in float32.


def _channels(x: Tensor) -> Tensor:
    """Return the values as [channels, values of each], in float32 or better."""
    return x.transpose(0, 1).flatten(1).to(torch.promote_types(x.dtype, torch.float32))


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))


def _batch_norm_stats(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    values = _channels(x)
    return values.mean(1), (values.var(1, correction=0) + eps).rsqrt()


def _gather_stats(
    _x: Tensor, mean: Tensor, invstd: Tensor, r_mean: Tensor, r_var: Tensor, momentum: float, eps: float, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """Join [workers, channels] statistics; `counts` says how many values of a channel each worker had."""
    share = (counts / counts.sum()).view(-1, 1).to(mean.dtype)
    total = float(counts.sum())
    joint = (share * mean).sum(0)
    variance = (share * (invstd**-2 - eps + (mean - joint) ** 2)).sum(0)
    if r_mean is not None:
        r_mean.lerp_(joint.to(r_mean.dtype), momentum)
    if r_var is not None:
        r_var.lerp_((variance * total / (total - 1)).to(r_var.dtype), momentum)
    return joint, (variance + eps).rsqrt()


def _batch_norm_elemt(x: Tensor, weight: Any, bias: Any, mean: Tensor, invstd: Tensor, _eps: float) -> Tensor:
    scale = invstd if weight is None else invstd * weight
    found = (x - _per_channel(mean, x)) * _per_channel(scale, x)
    return (found if bias is None else found + _per_channel(bias, x)).to(x.dtype)


def _backward_reduce(
    grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, weight: Any, _x_g: bool, weight_g: bool, bias_g: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    dy = _channels(grad)
    total, against = dy.sum(1), (dy * (_channels(x) - mean.view(-1, 1))).sum(1)
    kind = mean.dtype if weight is None else weight.dtype
    return (
        total,
        against,
        (against * invstd).to(kind) if weight_g else None,
        total.to(kind) if bias_g else None,
    )


def _backward_elemt(
    grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, weight: Any, total: Tensor, against: Tensor, counts: Tensor
) -> Tensor:
    number = counts.sum().to(mean.dtype)
    centred = x - _per_channel(mean, x)
    scale = invstd if weight is None else invstd * weight
    found = grad - _per_channel(total / number, x) - centred * _per_channel(invstd**2 * against / number, x)
    return (found * _per_channel(scale, x)).to(x.dtype)


STATISTICS = ("running_mean", "running_var")


def special_kernels() -> dict[str, Callable[..., Any]]:
    """Return these kernels by the name of the operator and its overload."""
    return {
        "copy_": copy_,
        "convolution": Kernel(aten.convolution.default),
        "convolution_backward": Kernel(aten.convolution_backward.default),
        "native_dropout": _Dropout(),
        "native_batch_norm": Kernel(aten.native_batch_norm.default, hidden=STATISTICS),
        "cudnn_batch_norm": Kernel(aten.cudnn_batch_norm.default, _cudnn_batch_norm, hidden=STATISTICS),
        "cudnn_batch_norm_backward": Kernel(aten.cudnn_batch_norm_backward.default, _cudnn_batch_norm_backward),
        "batch_norm_stats": Kernel(aten.batch_norm_stats.default, _batch_norm_stats),
        "batch_norm_gather_stats_with_counts": Kernel(
            aten.batch_norm_gather_stats_with_counts.default, _gather_stats, hidden=STATISTICS
        ),
        "batch_norm_elemt": Kernel(aten.batch_norm_elemt.default, _batch_norm_elemt),
        "batch_norm_backward_reduce": Kernel(aten.batch_norm_backward_reduce.default, _backward_reduce),
        "batch_norm_backward_elemt": Kernel(aten.batch_norm_backward_elemt.default, _backward_elemt),
    }
