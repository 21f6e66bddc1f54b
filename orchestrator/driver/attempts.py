"""How often each trial has been tried, and with how much of a GPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.driver.gpu_health import Gpu
from orchestrator.driver.nodes import answers


class Attempts:
    """Kept by fingerprint, for as long as the driver lives."""

    def __init__(self, gpus: float, shares: Mapping[str, float]) -> None:
        """`gpus` is what each trial gets at first, but for those of which `shares` says more."""
        self._gpus = defaultdict(lambda: gpus, shares)
        self._died_on: defaultdict[str, list[tuple[str, Gpu | None]]] = defaultdict(list)

    def share(self, fingerprint: str) -> dict[str, Any]:
        """What the trial is given now, and whether it would be given more."""
        gpus = self._gpus[fingerprint]
        return {"gpus": gpus, "grow": 0 < gpus < 1}

    def grow(self, fingerprint: str) -> tuple[float, float]:
        """Double the share of a trial that ran out of memory, up to a whole GPU; return what it was and what it is."""
        before = self._gpus[fingerprint]
        self._gpus[fingerprint] = min(1.0, 2 * before)
        return before, self._gpus[fingerprint]

    def died(self, fingerprint: str, node: str, gpu: Gpu | None = None, given_up: Collection[Gpu] = ()) -> int:
        """Count the death of a trial's process on `node`, or of its workers on several, with commas; how many count.

        Those on nodes that are gone do not, whatever killed them: on spot instances a trial may lose many nodes. A
        node may go some seconds after its processes, so all are looked at anew each time. Nor do those on a `gpu`
        that is `given_up`.
        """
        deaths = self._died_on[fingerprint]
        deaths.append((node, gpu))
        there = {node: not node or all(map(answers, node.split(","))) for node, _ in deaths}
        return sum(there[node] and gpu not in given_up for node, gpu in deaths)
