"""What a process asked of its pretended GPU."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from pretended_gpu.library import library, listen

_GROUPS = {
    "launch": "launches",
    "synchronization": "synchronizations",
    "copy": "copies",
    "violation": "violations",
    "unemulated": "unemulated",
}


@dataclass
class Counts:
    """Events by name. Each is counted where the program's thread asks for it, replayed kernels apart."""

    launches: Counter[str] = field(default_factory=Counter)  # kernels, by torch's operator, with those in captures
    synchronizations: Counter[str] = field(default_factory=Counter)  # the host waits for the GPU, by CUDA's function
    copies: Counter[str] = field(default_factory=Counter)  # "host to device", "device to host", "device to device"
    violations: Counter[str] = field(default_factory=Counter)  # what captures forbid, by what was called
    unemulated: Counter[str] = field(default_factory=Counter)  # kernels that failed as nobody emulates them
    others: Counter[str] = field(default_factory=Counter)  # calls of CUDA's functions and "graph launch", "replayed"
    places: Counter[str] = field(default_factory=Counter)  # lines that synchronised, if asked for

    @classmethod
    def of(cls, flat: dict[str, int]) -> Counts:
        """Make counts of the runtime's own, whose names are "group/name" or a name."""
        counts = cls()
        for event, times in flat.items():
            group, _, name = event.partition("/")
            target = getattr(counts, _GROUPS[group]) if group in _GROUPS else counts.others
            target[name if group in _GROUPS else event] += times
        return counts

    @property
    def graph_launches(self) -> int:
        return self.others["graph launch"]

    @property
    def replayed(self) -> int:
        """Kernels and copies done by graph launches."""
        return self.others["replayed"]

    @property
    def allocations(self) -> int:
        return self.others["cudaMalloc"]


def flat() -> dict[str, int]:
    """Return all counts of this process as the runtime names them."""
    found: dict[str, int] = json.loads(library.pretended_counts())
    return found


def so_far() -> Counts:
    """Return the counts of this process since it started."""
    return Counts.of(flat())


@contextmanager
def counting(places: bool = False) -> Iterator[Counts]:
    """Count within the block. The counts are filled in when it ends; with `places` also which lines synchronised."""
    before, counts = flat(), Counts()
    if places:
        listen(lambda event: counts.places.update([f"{event.decode()} {_place()}"]))
    try:
        yield counts
    finally:
        if places:
            listen(None)
        after = {event: times - before.get(event, 0) for event, times in flat().items()}
        made = Counts.of({event: times for event, times in after.items() if times})
        made.places = counts.places
        counts.__dict__.update(made.__dict__)


def _place() -> str:
    """Return file, line and function of the innermost frame that is neither torch's nor ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if not {"torch", "pretended_gpu"} & set(path.parts) and path.name != "contextlib.py":
            return f"{path.name}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "?"
