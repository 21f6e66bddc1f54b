"""Whether the GPUs of this machine can compute trials, asked before any is run: each answer is one line, or empty."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass

import torch

# The oldest driver on which each CUDA of a torch wheel runs (NVIDIA's table of minor version compatibility).
OLDEST_DRIVER = {11: "450", 12: "525", 13: "580"}
LOOK_SECONDS = 120.0  # a GPU that hangs answers never

# Each GPU that is seen multiplies two matrices: a dead one raises, and one too old has no kernel for it.
COMPUTE = """
import torch
faults = []
for number in range(torch.cuda.device_count()):
    try:
        x = torch.ones(64, 64, device=f"cuda:{number}")
        fault = "" if float((x @ x).sum()) == 64**3 else "it computes wrong numbers"
    except Exception as error:
        fault = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    print("fault" if fault else "works", number, fault)
"""


def driver_fault() -> str:
    """Return why no GPU of this machine can be used by this torch, without touching one; "" if nothing is known."""
    driver = _driver()
    if torch.version.hip is not None or driver is None:
        return ""  # ROCm's driver tells nothing of the kind; and where there is no driver there is no GPU
    if torch.version.cuda is None:
        return "this torch is built without CUDA: install the build of torch that has it (README)"
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
    here = torch.accelerator.current_accelerator()
    if here is not None and here.type != "cuda":
        name = {"mps": "Apple GPU", "xpu": "Intel GPU"}.get(here.type, f"accelerator '{here.type}'")
        return f"trials run on CPUs: the {name} of this machine is not supported; NVIDIA's (CUDA) and AMD's (ROCm) are"
    if here is None and (fault := driver_fault()):
        return f"trials run on CPUs, though this machine has an NVIDIA GPU: {fault}"
    return ""


@dataclass(frozen=True)
class Tried:
    """What came of trying the GPUs that a process sees: how many there were, and the faults by number."""

    count: int
    faults: dict[int, str]


def try_gpus() -> Tried:
    """Compute something on each GPU that this process may see, in another process: a broken one spoils its process."""
    try:
        tried = subprocess.run(
            [sys.executable, "-c", COMPUTE], capture_output=True, text=True, timeout=LOOK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Tried(1, {0: f"no answer within {LOOK_SECONDS:.0f} s"})
    if tried.returncode != 0:
        said = [line for line in tried.stderr.splitlines() if line.strip()]
        died = f"a process that used it ended with exit code {tried.returncode}"
        return Tried(1, {0: (said or [died])[-1][:300]})
    lines = [line.split(" ", 2) for line in tried.stdout.splitlines() if line.startswith(("fault ", "works "))]
    return Tried(len(lines), {int(number): fault[:300] for verdict, number, fault in lines if verdict == "fault"})


def _driver() -> int | None:
    """Return the newest CUDA that the driver supports, 12040 for 12.4; None where there is no NVIDIA driver."""
    version = ctypes.c_int()
    with suppress(OSError, AttributeError):
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) == 0:
            return version.value
    return None


def _driver_name() -> str:
    """Return the version of the driver as NVIDIA names it ("535.104.05"); "" if it does not tell."""
    name = ctypes.create_string_buffer(96)
    with suppress(OSError, AttributeError):
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() == 0 and nvml.nvmlSystemGetDriverVersion(name, len(name)) == 0:
            return name.value.decode()
    return ""
