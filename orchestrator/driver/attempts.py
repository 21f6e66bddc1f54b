"""How often each trial has been tried, and with how much of a GPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from orchestrator.driver.nodes import answers


class Attempts:
    """Kept by fingerprint, for as long as the driver lives."""

    def __init__(self, gpus: float, shares: Mapping[str, float]) -> None:
        """`gpus` is what each trial gets at first, but for those of which `shares` says more."""
        self._gpus = defaultdict(lambda: gpus, shares)
        self._grown: set[str] = set()
        self._died_on: defaultdict[str, list[str]] = defaultdict(list)

    def share(self, fingerprint: str) -> dict[str, Any]:
        """What the trial is given now, and whether it would be given more."""
        gpus = self._gpus[fingerprint]
        return {"gpus": gpus, "grow": 0 < gpus < 1 and fingerprint not in self._grown}

    def grow(self, fingerprint: str) -> tuple[float, float]:
        """Double the share of a trial that ran out of memory; what it was and what it is."""
        before = self._gpus[fingerprint]
        self._grown.add(fingerprint)
        self._gpus[fingerprint] = min(1.0, 2 * before)
        return before, self._gpus[fingerprint]

    def died(self, fingerprint: str, node: str) -> int:
        """Count the death of a trial's process on `node`, or of its workers on several, with commas; how many count.

        Those on nodes that are gone do not, whatever killed them: on spot instances a trial may lose many nodes. A
        node may go some seconds after its processes, so all are looked at anew each time.
        """
        nodes = self._died_on[fingerprint]
        nodes.append(node)
        there = {node: not node or all(map(answers, node.split(","))) for node in set(nodes)}
        return sum(there[node] for node in nodes)
