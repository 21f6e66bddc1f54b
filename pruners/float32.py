"""Choice between IEEE float32 and TF32 for matrix products and convolutions on GPUs and CPUs.

torch has two settings for it, and both take effect: `set_float32_matmul_precision` and `allow_tf32` (all versions),
and `fp32_precision` per backend and operation (2.9 and later). Most reads of the older flags raise an error if the two
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

    Applies to the whole process. On leaving, all settings are restored, by whichever of torch's two ways they were set.
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

    Applies to the whole process; settings for CPUs are left as they are. On leaving, all settings are restored.
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
    """Return the objects that have `fp32_precision` for CUDA, from the general to the specific."""
    cudnn: Any = torch.backends.cudnn
    return [cudnn, cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul]


def _of_cpu() -> list[Any]:
    mkldnn: Any = torch.backends.mkldnn  # not itself: in torch 2.15 its setter sets all backends' precision
    return [mkldnn.conv, mkldnn.rnn, mkldnn.matmul]


def _set_precision(stack: ExitStack, owner: Any, wanted: str) -> None:
    """Set `fp32_precision`, unless it already has that value, inherited from a more general setting.

    So an operation that the user has not set still follows what the user sets later for all operations.
    """
    before = owner.fp32_precision
    if before != wanted:
        stack.callback(setattr, owner, "fp32_precision", before)
        owner.fp32_precision = wanted


def _put_back(owner: Any, before: str) -> None:
    """Undo the older flag's effect on `fp32_precision`: inherit it from the more general setting if it did before."""
    if owner.fp32_precision != before:
        owner.fp32_precision = "none"
    if owner.fp32_precision != before:
        owner.fp32_precision = before


def _allow_matmul_tf32(stack: ExitStack, *, allowed: bool) -> None:
    """Set the older flag for matrix products, after `fp32_precision`: it cannot be read while the two disagree."""
    matmul = torch.backends.cuda.matmul
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # only for TF32: the flag is "highest", and the newer setting already differs
        before = "highest"
    if (before != "highest") == allowed:
        return
    if before == "medium":
        stack.callback(torch.set_float32_matmul_precision, before)
        torch.set_float32_matmul_precision("highest")
    else:  # not set_float32_matmul_precision, which would set oneDNN's precision too
        stack.callback(setattr, matmul, "allow_tf32", not allowed)
        matmul.allow_tf32 = allowed
