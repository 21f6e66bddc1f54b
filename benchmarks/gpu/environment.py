"""The GPU as it is found, and a trial with a share of it as Ray runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import torch

from benchmarks.gpu.harness import Result, Setting, judged, own_process
from trainables.gpu.memory import CONTEXT_BYTES, mps_runs

MIB = 2**20


def environment(setting: Setting) -> Iterator[Result]:
    """What GPU, driver and torch there are, and what a process takes of the GPU outside of torch's allocator."""
    torch.cuda.init()  # type: ignore[no-untyped-call]
    gpu = torch.cuda.get_device_properties(0)
    yield Result(
        "environment: GPU",
        "reported",
        f"{torch.cuda.device_count()} of {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, "
        f"capability {gpu.major}.{gpu.minor}, driver {_driver()}, {os.cpu_count()} CPUs",
    )
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {_cudnn()}"
    yield Result(
        "environment: torch",
        "reported",
        f"{versions}; TF32 as torch has it: "
        f"convolutions {_on(cudnn)}, products {_on(matmul)}; MPS {_on(mps_runs(os.environ))}",
    )
    torch.ones(1, device="cuda")  # this process has its own context before free memory is read
    torch.cuda.synchronize()
    before = torch.cuda.mem_get_info()[0]
    with own_process() as pool:
        end, reserved = pool.submit(_trained, setting).result()
        taken = before - torch.cuda.mem_get_info()[0] - reserved
    if taken <= 0:
        yield Result("environment: context", "skipped", "this GPU does not count other processes' memory")
        return
    yield judged(
        "environment: context",
        end == "finished" and taken <= CONTEXT_BYTES,
        f"a process takes {taken / MIB:.0f} MiB beside torch's {reserved / MIB:.0f} after a trial ({end}); "
        f"CONTEXT_BYTES allows {CONTEXT_BYTES / MIB:.0f}",
    )


def share(setting: Setting) -> Iterator[Result]:
    """A trial with a quarter of a GPU, on the device "cuda", as Ray runs it."""
    ran = setting.run(setting.trial(), "share", gpus=0.25)
    told = ", ".join(
        f"{tag} {ran.tags[tag]}" for tag in ("machine", "stepped", "precision", "trained") if tag in ran.tags
    )
    good = ran.outcome.end == "finished" and ran.tags.get("machine") == torch.cuda.get_device_name()
    yield judged("share: a quarter of a GPU", good, f"{ran.end}; {told}")


def _trained(setting: Setting) -> tuple[str, int]:
    """Run a trial; return how it ended, and what torch has of the GPU now."""
    ran = setting.run(setting.trial(), "context")
    return ran.outcome.end, torch.cuda.memory_reserved()


def _driver() -> str:
    """Return the driver's version, where nvidia-smi is there to ask."""
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False)
        if said.returncode == 0 and said.stdout.strip():
            return said.stdout.split()[0]
    return "unknown"


def _cudnn() -> str:
    return str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]


def _on(flag: bool) -> str:
    return "on" if flag else "off"
