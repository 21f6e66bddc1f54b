"""A process that loses its GPU by an illegal access, beside another one that goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu import fault_network
from benchmarks.gpu.harness import Result, Setting, judged, own_process

PRETENDED = {"PRETENDED_GPU_FAULTS": "poison@300"}  # kernels of a pretended GPU check their indices on the host


def faults(setting: Setting) -> Iterator[Result]:
    """A trial that breaks its GPU's context is told so; processes beside it and after it are in order."""
    with own_process() as beside, own_process() as broken:
        before = beside.submit(_end, setting, "before", False).result()
        told = broken.submit(_end, setting, "broken", True).result()
        again = broken.submit(_end, setting, "in the broken process", False).result()
        after = beside.submit(_end, setting, "after", False).result()
    yield judged("faults: illegal access", told.startswith("broken"), told)
    yield judged("faults: next in that process", again.startswith("broken"), again)
    good = before == after == "finished"
    yield judged("faults: process beside it", good, f"before: {before}; after: {after}")
    with own_process() as fresh:
        end = fresh.submit(_end, setting, "fresh", False).result()
    yield judged("faults: new process", end == "finished", end)


def _end(setting: Setting, name: str, breaks: bool) -> str:
    """Run a trial in this process; return how it ended. The one that `breaks` does so in its forward passes."""
    own = Path(fault_network.__file__)
    fields = {"architecture": f"{own.name}:build", "architecture_code": own.read_text(encoding="utf-8")}
    if breaks and "PRETENDED_GPU_LIBRARY" in os.environ:
        os.environ.update(PRETENDED)  # read at its first launch
        fields = {}
    return setting.run(setting.trial(**(fields if breaks else {})), name).end
