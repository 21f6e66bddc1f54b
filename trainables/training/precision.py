"""Precision in which networks train. Weights are float32; scores and tests are computed in IEEE float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch

from pruners.float32 import ieee_float32, tf32
from search_spaces import Trial


def used(trial: Trial, device: torch.device) -> str:
    """Return the precision in which `trial` trains on `device`: its own, or "float32: " and the reason.

    "float32" is IEEE float32 with TF32 off: by default torch lets convolutions on NVIDIA GPUs round their inputs to
    TF32's ten bits. "tf32" allows that, in forward and backward passes of training.
    """
    wanted = trial.precision
    if wanted == "float32" or (device.type != "cuda" and wanted == "bfloat16"):
        return wanted
    if device.type != "cuda":
        return "float32: TF32 is for NVIDIA GPUs"
    name, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    if wanted == "tf32":
        there = torch.version.hip is None and capability >= (8, 0)
        return wanted if there else f"float32: {name} has no TF32"
    # Emulated bfloat16 would be slower than float32.
    return wanted if torch.cuda.is_bf16_supported(including_emulation=False) else f"float32: {name} has no bfloat16"


def arithmetic(trial: Trial, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """Return a factory of context managers that set the float32 precision of a step's forward and backward passes."""
    return tf32 if used(trial, device) == "tf32" else ieee_float32 if device.type == "cuda" else nullcontext


@contextmanager
def cudnn_benchmark(on: bool) -> Iterator[None]:
    """Switch cuDNN's benchmark mode on or off inside the block, and restore it afterwards."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def autocast(trial: Trial, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """Return a factory of context managers for a forward pass in the precision of `used` (Micikevicius et al. 2018).

    bfloat16 has float32's range of exponents, so gradients need no scaling.
    """
    if used(trial, device) == "bfloat16":
        return partial(torch.autocast, device.type, torch.bfloat16)
    return nullcontext


def on_cpu() -> str:
    """Return a notice for trainings in bfloat16 on a CPU: whether it has instructions for bfloat16."""
    known = getattr(torch.cpu, "get_capabilities", dict[str, bool])()  # missing in the oldest torch allowed
    here = (
        "has such instructions"
        if any("bf16" in name and there for name, there in known.items())
        else "has none that torch finds"
    )
    return f"precision: bfloat16 is slower than float32 on CPUs without instructions for it; this machine {here}"
