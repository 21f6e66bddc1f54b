"""Which trials go together into one process, and who comes after one that has ended there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.costs.resources import Resources, concurrency
from orchestrator.driver.attempts import Attempts
from orchestrator.driver.handing import Handing
from orchestrator.driver.nodes import alive
from search_spaces import Trial

SLOTS_TO_COME = 8  # how many trials run at once where all nodes are still to come
Point = dict[str, Any]  # a trial as Tune's config has it: "fingerprint", "trial", "gpus", "grow"


class Packs:
    """Fills processes. Their trials together have no more than one GPU; one that needs a process for itself gets it."""

    def __init__(
        self,
        handing: Handing,
        attempts: Attempts,
        resources: Resources,
        enter: Callable[[Trial], object] = lambda trial: None,
    ) -> None:
        """`enter` is told of each trial as it is given out."""
        self._handing, self._attempts, self._resources, self._enter = handing, attempts, resources, enter

    def new(self) -> list[Point]:
        """The trials of a new process; none if there is none now."""
        first = self._next()
        if first is None or self._attempts.alone(first["fingerprint"]):
            return [first] if first else []
        return [first, *self.more([first["gpus"]], self._resources.pack, 1.0)]

    def more(self, shares: list[float], lanes: int, gpus: float) -> list[Point]:
        """Those who can join trials with these `shares` in a process for so many trials that has so much of a GPU."""
        found: list[Point] = []
        room = gpus - sum(shares)
        while len(shares) + len(found) < lanes and (point := self._next(room)) is not None:
            found.append(point)
            room -= point["gpus"]
        return found

    @property
    def over(self) -> bool:
        """Whether no process will be needed any more."""
        return self._handing.over

    def _next(self, room: float | None = None) -> Point | None:
        """The next trial; beside others (`room` is left on their GPU) only if it can be there."""
        trial = self._handing.next(self._slots())
        if trial is None:
            return None
        fingerprint = trial.fingerprint
        share = self._attempts.share(fingerprint)
        if room is not None and self._attempts.alone(fingerprint):
            self._handing.later(fingerprint)
            return None
        if room is not None and share["gpus"] > room + 1e-6:
            self._handing.again(fingerprint)
            return None
        self._enter(trial)
        return {"fingerprint": fingerprint, "trial": trial.model_dump_json()} | share

    def _slots(self) -> int:
        """How many trials run at once on the nodes that are there."""
        here = concurrency(self._resources, *({"CPU": 0, "GPU": 0} | node for node in alive().values()))
        most = self._resources.max_concurrent
        return min(here or SLOTS_TO_COME, most or here or SLOTS_TO_COME)


def points(config: Mapping[str, Any]) -> list[Point]:
    """The trials with which a process begins, from its Tune config."""
    return [config["point"], *config.get("beside", ())]


def gpus(config: Mapping[str, Any]) -> float:
    """What its process gets of a GPU, or how many: four decimals, as Ray takes."""
    return float(round(sum(point["gpus"] for point in points(config)), 4))
