"""A machine with pretended GPUs: it is built from `pretended/`, and runs commands that find GPUs there.

python tests/gpu/pretended_machine.py FOLDER COMMAND …   # build into FOLDER; run a command with one GPU of 16 GiB
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

SOURCES = Path(__file__).parent / "pretended"
ROOT = Path(__file__).parents[2]
RUNTIME = "libpretended_cudart.so"
SECONDS = 600  # of one command
MODULES = ("device", "faults", "graphs", "kernels", "memory", "streams", "unsupported")


class UnavailableError(RuntimeError):
    """This machine cannot have a pretended GPU; the message says what is missing."""


def build(cache: Path) -> Path:
    """Compile the sources for the installed torch, unless that was done before; return the folder of the libraries.

    Raises UnavailableError without g++, without a torch built for CUDA, or without CUDA's headers.
    """
    compiler, headers = shutil.which("g++"), _headers()
    if compiler is None:
        raise UnavailableError("there is no g++")
    native = SOURCES / "native"
    digest = hashlib.sha256(_torch_version().encode())
    for source in sorted(native.rglob("*.*")):
        digest.update(source.name.encode() + source.read_bytes())
    folder = cache / digest.hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "build.lock"):  # several processes of one test session want it
        if not folder.is_dir():
            unfinished = cache / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            _compile(compiler, native, headers, unfinished)
            unfinished.rename(folder)
    return folder


def _compile(compiler: str, native: Path, headers: Path, folder: Path) -> None:
    shared = ["-O0", "-shared", "-fPIC", "-w"]
    cpp = [str(native / f"{module}.cpp") for module in MODULES]
    where = [f"-I{native}", f"-I{headers}", "-std=c++17", "-fvisibility=hidden"]
    for command in (
        [compiler, *shared, *where, *cpp, "-o", str(folder / RUNTIME), "-lpthread"],
        [compiler, *shared, "-x", "c", str(native / "driver.c"), "-o", str(folder / "libcuda.so.1")],
        [compiler, *shared, "-x", "c", str(native / "nvml.c"), "-o", str(folder / "libnvidia-ml.so.1")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the pretended GPU cannot be built:\n{done.stderr[-4000:]}")


def _torch_version() -> str:
    import torch

    if torch.version.cuda is None:
        raise UnavailableError(f"torch {torch.__version__} is not built for CUDA")
    return torch.__version__


def _headers() -> Path:
    """Return the folder of the CUDA headers that come with torch's wheels."""
    _torch_version()
    found = sorted(Path(sysconfig.get_paths()["purelib"]).glob("nvidia/*/include/cuda_runtime_api.h"))
    if not found:
        raise UnavailableError("CUDA's headers did not come with torch")
    return found[-1].parent


@dataclass(frozen=True)
class Finished:
    """What a command on a pretended machine left."""

    returncode: int
    stdout: str
    stderr: str
    processes: dict[int, dict[str, int]] = field(default_factory=dict)  # counts of each that used a GPU and ended well

    @property
    def counts(self) -> Counter[str]:
        """The counts of all its processes: "launch/mm", "synchronization/cudaStreamSynchronize", "graph launch", …"""
        return sum((Counter(each) for each in self.processes.values()), Counter())

    @property
    def answer(self) -> Any:
        """The JSON of the last line that was printed."""
        return json.loads(self.stdout.strip().splitlines()[-1])


@dataclass(frozen=True)
class PretendedMachine:
    """Runs commands as on a machine with GPUs. They and all their processes find them by environment variables."""

    libraries: Path
    folder: Path

    def environment(
        self, memory: str = "16GiB", faults: str = "", cuda: str = "", driver: str = "", counts: Path | None = None
    ) -> dict[str, str]:
        """Return the environment of a machine with one GPU for each size in `memory`: "16GiB,4GiB".

        `faults` is explained in faults.cpp. `cuda` is the newest version that the driver knows, by default the one
        that torch was built for; `driver` is the driver's own version. Each process writes its counts to `counts`.
        """
        runtime = str(self.libraries / RUNTIME)
        path = os.pathsep.join([str(ROOT), str(SOURCES / "path")])
        return os.environ | {
            "LD_PRELOAD": runtime,
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(self.libraries), os.environ.get("LD_LIBRARY_PATH")])),
            "PYTHONPATH": path,
            "PRETENDED_GPU_LIBRARY": runtime,
            "PRETENDED_GPU_COUNT": str(memory.count(",") + 1),
            "PRETENDED_GPU_MEMORY": memory,
            "PRETENDED_GPU_FAULTS": faults,
            "PRETENDED_GPU_CUDA": cuda,
            "PRETENDED_GPU_DRIVER": driver,
            "PRETENDED_GPU_COUNTS": str(counts or ""),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, command: Sequence[str], check: bool = True, seconds: float = SECONDS, **machine: str) -> Finished:
        """Run a command to its end. `machine` goes to `environment`; with `check` its exit code must be 0."""
        counts = self.folder / f"counts-{len(list(self.folder.iterdir()))}"
        counts.mkdir(parents=True)
        environment = self.environment(**machine, counts=counts)
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
        )
        processes = {}
        for file in counts.glob("*.json"):
            with contextlib.suppress(ValueError):  # of a process that was killed while it wrote
                processes[int(file.stem)] = json.loads(file.read_text())
        if check and done.returncode:
            raise AssertionError(
                f"{command} ended with {done.returncode}:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
            )
        return Finished(done.returncode, done.stdout, done.stderr, processes)

    def python(self, code: str, check: bool = True, seconds: float = SECONDS, **machine: str) -> Finished:
        """Run Python code. See `run`."""
        return self.run([sys.executable, "-c", code], check, seconds, **machine)

    def pytest(self, *arguments: str, seconds: float = SECONDS, **machine: str) -> Finished:
        """Run tests on this machine. See `run`."""
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "", *arguments]
        return self.run(command, True, seconds, **machine)


def main() -> int:
    """Run a command on a pretended machine."""
    if len(sys.argv) < 3:
        sys.stderr.write(__doc__ or "")
        return 2
    folder = Path(sys.argv[1]).resolve()
    try:
        machine = PretendedMachine(build(folder), folder)
    except UnavailableError as error:
        sys.stderr.write(f"no pretended GPU: {error}\n")
        return 2
    chosen = {name: value for name, value in os.environ.items() if name.startswith("PRETENDED_GPU_")}
    return subprocess.run(sys.argv[2:], env=machine.environment() | chosen, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
