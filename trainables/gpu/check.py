"""Check whether the GPUs of this machine can compute trials, before any is run. Each answer is one line, or empty."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import torch

# The oldest driver that runs each CUDA version of a torch wheel (NVIDIA's table of minor version compatibility).
OLDEST_DRIVER = {11: "450", 12: "525", 13: "580"}
LOOK_SECONDS = 120.0  # a GPU that hangs never answers

# A dead GPU raises here, and so does one for which this torch has no kernels.
COMPUTE = """
import torch
x = torch.ones(64, 64, device="cuda")
assert float((x @ x).sum()) == 64**3, "it computes wrong numbers"
"""


def driver_fault() -> str:
    """Return why this torch can use no GPU of this machine, without touching one; "" if no reason is known."""
    driver = _driver()
    if torch.version.hip is not None or driver is None:
        return ""  # ROCm's driver does not report this; and without a driver there is no GPU
    if torch.version.cuda is None:
        return "this torch is built without CUDA: install a build of torch with CUDA (README)"
    wheel = int(torch.version.cuda.partition(".")[0])
    if driver // 1000 >= wheel:
        return ""
    supported = f"CUDA {driver // 1000}.{driver % 1000 // 10}"
    need = f", that is driver {OLDEST_DRIVER[wheel]} or newer" if wheel in OLDEST_DRIVER else ""
    name = _driver_name()
    return (
        f"the NVIDIA driver {f'{name} ' if name else ''}supports {supported}, and this torch {torch.__version__} is "
        f"built for CUDA {torch.version.cuda}: it needs a driver for CUDA {wheel}.0 or newer{need}"
    )


def unused_accelerator() -> str:
    """Return which accelerator of this machine trials do not use, and why, in one sentence; "" if there is none."""
    here = torch.accelerator.current_accelerator(check_available=True)
    if here is not None and here.type != "cuda":
        name = {"mps": "Apple GPU", "xpu": "Intel GPU"}.get(here.type, f"accelerator '{here.type}'")
        return (
            f"trials run on CPUs: the {name} of this machine is not supported; GPUs of NVIDIA (CUDA) and AMD (ROCm) are"
        )
    if here is None and (fault := driver_fault()):
        return f"trials run on CPUs, though this machine has an NVIDIA GPU: {fault}"
    return ""


def try_gpus(numbers: Sequence[str], seconds: float = LOOK_SECONDS) -> dict[str, str]:
    """Compute something on each of these GPUs; return what is wrong with each that fails, in one line.

    Each is tried in a process of its own, because a broken GPU spoils its process for all others. `numbers` are values
    that CUDA_VISIBLE_DEVICES may hold. A GPU that has not answered after `seconds` fails.
    """
    deadline = time.monotonic() + seconds
    tried = {
        number: subprocess.Popen(
            [sys.executable, "-c", COMPUTE],
            env=os.environ | {"CUDA_VISIBLE_DEVICES": number},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in numbers
    }
    faults = {number: _fault(process, max(0.1, deadline - time.monotonic())) for number, process in tried.items()}
    return {number: fault for number, fault in faults.items() if fault}


def _fault(process: subprocess.Popen[str], seconds: float) -> str:
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return "it hangs: a product of two matrices did not end"
    if process.returncode == 0:
        return ""
    errors = [line for line in said.splitlines() if "Error: " in line and not line.startswith(" ")]
    return (errors or [f"a process that used it ended with exit code {process.returncode}"])[0][:300]


def _driver() -> int | None:
    """Return the newest CUDA version that the driver supports, 12040 for 12.4; None if there is no NVIDIA driver."""
    version = ctypes.c_int()
    with suppress(OSError, AttributeError):
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) == 0:
            return version.value
    return None


def _driver_name() -> str:
    """Return the version of the driver as NVIDIA writes it ("535.104.05"); "" if it is unknown."""
    name = ctypes.create_string_buffer(96)
    with suppress(OSError, AttributeError):
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() == 0 and nvml.nvmlSystemGetDriverVersion(name, len(name)) == 0:
            return name.value.decode()
    return ""
