"""The numbers that networks train in. Weights, scores and tests are float32 (or as the model is) in any case."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from search_spaces import Trial


def used(trial: Trial, device: torch.device) -> str:
    """What `trial` trains in on `device`: "float32" or "bfloat16", and why if that is not what it asks for."""
    if trial.precision == "float32" or device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return trial.precision
    return f"float32: {torch.cuda.get_device_name(device)} has no bfloat16"  # emulated it would be slower than this


def autocast(trial: Trial, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """Makes the context in which one forward pass is computed as `used` says (Micikevicius et al. 2018).

    bfloat16 has float32's range of exponents, so that gradients need no scaling.
    """
    if used(trial, device) == "bfloat16":
        return partial(torch.autocast, device.type, torch.bfloat16)
    return nullcontext


def on_cpu() -> str:
    """What is to be said before bfloat16 is trained in without a GPU."""
    known = getattr(torch.cpu, "get_capabilities", dict[str, bool])()  # newer than the oldest torch allowed
    here = "has them" if any("bf16" in name and there for name, there in known.items()) else "has none that torch knows"
    return f"precision: bfloat16 is slower than float32 on CPUs without instructions for it; this machine {here}"
