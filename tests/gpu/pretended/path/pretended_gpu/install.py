"""Replacement of torch's CUDA kernels in this process."""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from pretended_gpu import draws
from pretended_gpu.counts import flat
from pretended_gpu.kernels import Kernel
from pretended_gpu.library import listen, unhook
from pretended_gpu.special import special_kernels

# Torch's own: they make tensors, look at their memory or copy by CUDA's runtime, and launch nothing.
KEPT = {
    "_efficientzerotensor", "_fused_sdp_choice", "_local_scalar_dense", "_pin_memory", "_reshape_alias", "alias",
    "as_strided", "empty", "empty_strided", "is_pinned", "is_same_size", "is_set_to", "lift", "lift_fresh",
    "record_stream", "resize_", "resize_as_", "set_", "squeeze", "unfold", "unsqueeze", "view", "view_as_complex",
    "view_as_real",
}  # fmt: skip
# Nobody emulates these: a program that gets to them fails with the kernel's name.
NOT_EMULATED = (
    "_cslt", "_cudnn", "_efficient", "_fft", "_flash", "_nested", "_scaled_dot", "_sobol", "_sparse", "cudnn", "miopen",
    "quantized", "sparse",
)  # fmt: skip
CPU = ("CPU", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional", "CompositeImplicitAutograd")

_libraries: list[torch.library.Library] = []  # a library that nobody holds takes its kernels with it


def install() -> None:
    """Have the CPU do what torch would launch on a GPU. Attention is done by plain matrix products."""
    if _libraries:
        return
    draws.keep_torch_uniform()
    library = torch.library.Library("aten", "IMPL")
    _libraries.append(library)
    special = special_kernels()
    with _silence():  # torch warns of each
        for name, kernel in special.items():
            library.impl(name, kernel, "CUDA", allow_override=True)
        for name in torch._C._dispatch_get_all_op_names():
            short = name.removeprefix("aten::")
            if short != name and short not in special and _emulated(name):
                base, _, overload = short.partition(".")
                op = getattr(getattr(torch.ops.aten, base), overload or "default")
                if not any(each.alias_info and not each.alias_info.is_write for each in op._schema.returns):
                    library.impl(short, Kernel(op), "CUDA", allow_override=True)
    for enable in ("enable_flash_sdp", "enable_mem_efficient_sdp", "enable_cudnn_sdp"):
        getattr(torch.backends.cuda, enable)(False)
    _gather_by_gloo()
    listen(None)
    atexit.register(_end)


def _gather_by_gloo() -> None:
    """Have gloo do what processes ask of NCCL: it takes tensors on GPUs too, by way of the host."""
    if torch.distributed.is_available():
        backend = torch.distributed.Backend
        for name in ("gloo", "nccl"):
            backend._ensure_backend_registered(name)
        backend._plugins["NCCL"] = backend._plugins["GLOO"]


def _emulated(name: str) -> bool:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    base = name.removeprefix("aten::").partition(".")[0]
    if base in KEPT or base.startswith(NOT_EMULATED) or not has(name, "CUDA"):
        return False
    return any(has(name, key) for key in CPU)


def _end() -> None:
    folder = os.environ.get("PRETENDED_GPU_COUNTS")
    if folder and flat():
        Path(folder, f"{os.getpid()}.json").write_text(json.dumps(flat()), encoding="utf-8")
    unhook()


@contextmanager
def _silence() -> Iterator[None]:
    """Discard what C++ writes to standard error within the block."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
