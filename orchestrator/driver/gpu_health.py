"""GPUs on which processes die again and again: they are held, so that Ray gives them to no trial.

Ray counts GPUs and does not look at them. A dead one is free most of the time, so without this it would take one trial
after the other, and all would fail there while the other GPUs work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.gpu_check import try_gpus

DEATHS = 2  # one after the other, each of a process that started after the one before, until a GPU is suspected
CLEARED = 3  # trials that died on a GPU and ended well on another: enough to give it up, though it computes when tried
PAUSE_SECONDS = 60.0  # in which no trial starts, so that a suspected GPU becomes free to be tried


class Gpu(NamedTuple):
    """A GPU by its node's id, and its number there."""

    node: str
    number: str


@dataclass
class _Case:
    """What speaks against a GPU."""

    deaths: int = 0
    counted: float = 0.0  # when the last death that counts was seen
    trials: set[str] = field(default_factory=set)  # that died on it
    cleared: set[str] = field(default_factory=set)  # those of them that ended well on another GPU
    why: str = ""
    asked: list[tuple[Any, Any]] = field(default_factory=list)  # holders on their way: actors, and their answers
    since: float = 0.0  # when the first of them was asked for


class GpuHealth:
    """Count the deaths of processes by GPU, and hold those GPUs that no longer compute."""

    def __init__(self, notice: Callable[[str], object], avoid: Callable[[Gpu, bool], object]) -> None:
        """`notice` tells people a line, and `avoid` trials whether they are to leave a GPU on which they are."""
        self._notice, self._avoid = notice, avoid
        self._cases: dict[Gpu, _Case] = {}
        self._holders: list[Any] = []
        self.given_up: dict[Gpu, str] = {}  # and why

    def died(self, fingerprint: str, gpu: Gpu | None, started: float, why: str = "") -> None:
        """Count a process that ran a trial on `gpu` since that monotonic time, and died there of `why`.

        Processes that share a GPU die together, of one fault, where MPS runs: that counts once.
        """
        if gpu is None or gpu in self.given_up:
            return
        case = self._cases.setdefault(gpu, _Case())
        case.trials.add(fingerprint)
        if case.asked or started < case.counted:
            return
        case.deaths, case.counted, case.why = case.deaths + 1, time.monotonic(), why or case.why
        if case.deaths >= DEATHS:
            case.since = time.monotonic()
            self._avoid(gpu, True)
            self._ask(gpu, case)

    def worked(self, fingerprint: str, gpu: Gpu | None) -> None:
        """Note that a trial came to an end on `gpu` by itself."""
        for each, case in self._cases.items():
            if each == gpu:
                case.deaths = 0
            elif fingerprint in case.trials:
                case.cleared.add(fingerprint)

    @property
    def waiting(self) -> bool:
        """Whether trials are to wait, for a suspected GPU to become free."""
        return any(case.asked for case in self._cases.values())

    def look(self) -> None:
        """Go on with the GPUs that are suspected. To be called now and then."""
        for gpu, case in self._cases.items():
            if case.asked and ray.wait([case.asked[-1][1]], timeout=0)[0]:
                self._answered(gpu, case)
            elif case.asked and time.monotonic() - case.since > PAUSE_SECONDS:  # others work on it all the while
                self._close(gpu, case)

    def close(self) -> None:
        """Let go of all GPUs: the sweep is over."""
        for gpu, case in self._cases.items():
            self._close(gpu, case)
        for holder in self._holders:
            ray.kill(holder)
        self._holders.clear()

    def _ask(self, gpu: Gpu, case: _Case) -> None:
        """Ask for a whole GPU of the node, and which one it is: Ray lets nobody choose."""
        there = NodeAffinitySchedulingStrategy(gpu.node, soft=False)
        actor = Holder.options(num_gpus=1, scheduling_strategy=there).remote()  # type: ignore[attr-defined]
        case.asked.append((actor, actor.look.remote(gpu.number)))

    def _answered(self, gpu: Gpu, case: _Case) -> None:
        holder, answer = case.asked[-1]
        try:
            number, fault = ray.get(answer)
        except ray.exceptions.RayError:  # its node is gone
            self._close(gpu, case)
            return
        if number != gpu.number:
            self._ask(gpu, case)  # holding the one that was given meanwhile: else it would be given again
            return
        give_up = bool(fault) or len(case.cleared) >= CLEARED
        self._close(gpu, case, holder if give_up else None)
        if give_up:
            self._holders.append(holder)
            self.given_up[gpu] = fault or case.why
            why = f" ({self.given_up[gpu]})" if self.given_up[gpu] else ""
            self._notice(f"GPU {gpu.number} of node {_address(gpu.node)} gets no more trials: processes die on it{why}")

    def _close(self, gpu: Gpu, case: _Case, keep: Any = None) -> None:
        """Suspect the GPU no more, but for the holder to `keep` if it is given up."""
        if case.asked:
            self._avoid(gpu, False)
        for actor, _ in case.asked:
            if actor is not keep:
                ray.kill(actor)
        case.asked.clear()
        case.deaths = 0


@ray.remote(num_cpus=0, max_restarts=0)
class Holder:
    """Have a GPU, so that nobody else gets it."""

    def look(self, wanted: str) -> tuple[str, str]:
        """Return the number of the GPU, and what is wrong with it if it is the `wanted` one."""
        number = str(ray.get_gpu_ids()[0])
        return number, "".join(try_gpus().faults.values()) if number == wanted else ""


def _address(node: str) -> str:
    known = {each["NodeID"]: each["NodeManagerAddress"] for each in ray.nodes()}  # type: ignore[no-untyped-call]
    return str(known.get(node, node))
