"""Float32 as IEEE 754 has it, or TF32: how GPUs and CPUs may round inside of matrix products and convolutions.

torch has two ways to say so, and both count: `set_float32_matmul_precision` and `allow_tf32` (all versions), and
`fp32_precision` per backend and operation (2.9 and later). Most readers of the older flags raise an error where the two
disagree, so both are set here.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

_HAS_PRECISIONS = hasattr(torch.backends.cuda.matmul, "fp32_precision")


@contextmanager
def ieee_float32() -> Iterator[None]:
    """Compute in IEEE float32, whatever the process has set: no TF32 on GPUs, no bfloat16 or TF32 in oneDNN on CPUs.

    For the whole process. On leaving, all is as it was, by whichever of torch's two ways it had been set.
    """
    with ExitStack() as stack:
        if _HAS_PRECISIONS:
            for owner in (torch.backends, *_of_cuda(), *_of_cpu()):
                _set_precision(stack, owner, "ieee")
        else:
            stack.callback(setattr, torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
            torch.backends.cudnn.allow_tf32 = False
        _allow_matmul_tf32(stack, allowed=False)
        yield


@contextmanager
def tf32() -> Iterator[None]:
    """Compute float32 matrix products and convolutions on GPUs in TF32, which has 10 bits of mantissa instead of 23.

    For the whole process; CPUs are left as they are. On leaving, all is as it was.
    """
    with ExitStack() as stack:
        if _HAS_PRECISIONS:
            stack.callback(_put_back, torch.backends.cuda.matmul, torch.backends.cuda.matmul.fp32_precision)
            for owner in _of_cuda():
                _set_precision(stack, owner, "tf32")
        else:
            stack.callback(setattr, torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
            torch.backends.cudnn.allow_tf32 = True
        _allow_matmul_tf32(stack, allowed=True)
        yield


def _of_cuda() -> list[Any]:
    """The holders of `fp32_precision` for CUDA, from all operations to single ones."""
    cudnn: Any = torch.backends.cudnn
    return [cudnn, cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul]


def _of_cpu() -> list[Any]:
    mkldnn: Any = torch.backends.mkldnn  # whose own setter sets all backends' in torch 2.15: only its operations' here
    return [mkldnn.conv, mkldnn.rnn, mkldnn.matmul]


def _set_precision(stack: ExitStack, owner: Any, wanted: str) -> None:
    """Set `fp32_precision`, unless it follows from what was set above it.

    So an operation of which the user has said nothing still follows what the user says later for all of them.
    """
    before = owner.fp32_precision
    if before != wanted:
        stack.callback(setattr, owner, "fp32_precision", before)
        owner.fp32_precision = wanted


def _put_back(owner: Any, before: str) -> None:
    """Undo what the older flag did to `fp32_precision`: let it follow from what is set above it, where it did."""
    if owner.fp32_precision != before:
        owner.fp32_precision = "none"
    if owner.fp32_precision != before:
        owner.fp32_precision = before


def _allow_matmul_tf32(stack: ExitStack, *, allowed: bool) -> None:
    """Set the older flag for matrix products. After `fp32_precision`, because it is unreadable while they disagree."""
    matmul = torch.backends.cuda.matmul
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # for TF32: it is "highest", and the newer setting already differs from that
        before = "highest"
    if (before != "highest") == allowed:
        return
    if before == "medium":
        stack.callback(torch.set_float32_matmul_precision, before)
        torch.set_float32_matmul_precision("highest")
    else:  # not set_float32_matmul_precision, which would also set oneDNN's
        stack.callback(setattr, matmul, "allow_tf32", not allowed)
        matmul.allow_tf32 = allowed
