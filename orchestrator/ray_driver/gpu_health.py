"""Detection of broken GPUs, before a sweep or when processes die on them; they are occupied, so no trial gets them.

Ray counts GPUs but does not test them. A dead GPU is free most of the time. Without this check it would get one trial
after the other, and all of them would fail there while the other GPUs work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search_spaces import SpaceError
from trainables.gpu.check import driver_fault, try_gpus

DEATHS = 2  # consecutive deaths until a GPU is suspected, each of a process that started after the previous death
CLEARED = 3  # this many trials that died on a GPU and finished on another rule it out, even if it passes the test
ANSWER_SECONDS = 180.0  # limit for a node's first answer: it fetches our code and imports torch
PAUSE_SECONDS = ANSWER_SECONDS  # in which no trial starts, so that a suspected GPU becomes free for a test


class Gpu(NamedTuple):
    """GPU, identified by its node's id and its number on that node."""

    node: str
    number: str


@dataclass
class Record:
    """Record of a GPU on which a process died."""

    deaths: int = 0  # since a trial last ended normally on it
    needed: int = DEATHS  # deaths until it is suspected; doubled each time that it passes the test
    counted: float = 0.0  # monotonic time of the last counted death
    trials: set[str] = field(default_factory=set)  # that died on it
    cleared: set[str] = field(default_factory=set)  # those of them that ended normally on another GPU
    why: str = ""


@dataclass
class Suspect:
    """Suspected GPU, which no trial gets until it has been tested."""

    since: float
    holder: Any = None  # the actor that occupies it, once there is one
    verdict: Any = None  # future result of the test: what is wrong with the GPU


class GpuHealth:
    """Health of the GPUs of the connected Ray: tests them, counts deaths of processes, occupies broken ones."""

    def __init__(self, notice: Callable[[str], object]) -> None:
        """Use `notice` to show the user a line of text."""
        self.notice = notice
        self.avoid: Callable[[Gpu, bool], object] = lambda gpu, yes: None  # signals trials to leave a GPU, or ends that
        self.broken_gpus: dict[Gpu, str] = {}  # broken GPU -> why
        self._records: dict[Gpu, Record] = {}
        self._suspects: dict[Gpu, Suspect] = {}
        self._coming: list[tuple[str, Any, Any]] = []  # holders that wait for a GPU: node, actor, future GPU number
        self._others: list[tuple[str, Any]] = []  # holders that got a GPU that is not suspected
        self._holders: list[Any] = []

    def try_all(self) -> None:
        """Test the free GPUs of all nodes and occupy those that do not work.

        Raises:
            SpaceError: if the GPU driver of a node is too old for its torch, or if no GPU works.
        """
        nodes = {
            node["NodeID"]: int(node["Resources"]["GPU"])
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"] and node["Resources"].get("GPU", 0) >= 1
        }
        # `ray.available_resources` adds up all nodes; no public call returns those of each.
        free = ray._private.state.available_resources_per_node()  # type: ignore[no-untyped-call]
        # If others use a GPU of a node, none of that node is tested, because the free rest cannot be requested.
        asked = {node: count if free.get(node, {}).get("GPU", 0) >= count else 0 for node, count in nodes.items()}
        answers = {
            node: _look.options(num_gpus=count, scheduling_strategy=_on(node)).remote() for node, count in asked.items()
        }
        ready = ray.wait(list(answers.values()), num_returns=len(answers), timeout=ANSWER_SECONDS)[0] if answers else []
        faults: dict[Gpu, str] = {}
        for node, answer in answers.items():
            if answer not in ready:
                ray.cancel(answer, force=True)
                continue
            driver, broken = ray.get(answer)
            if driver:
                raise SpaceError(f"--gpus-per-trial: on node {_address(node)} {driver}")
            faults |= {Gpu(node, number): why for number, why in broken.items()}
        lines = {
            gpu: f"GPU {gpu.number} of node {_address(gpu.node)} does not work: {why}" for gpu, why in faults.items()
        }
        if nodes and len(faults) == sum(nodes.values()):
            raise SpaceError(f"--gpus-per-trial: {'; '.join(lines.values())}")
        for gpu, line in lines.items():
            self.notice(f"{line}; no trial gets it")
            self.broken_gpus[gpu] = faults[gpu]
            self._suspects[gpu] = Suspect(time.monotonic())
        deadline = time.monotonic() + ANSWER_SECONDS
        while self.waiting and time.monotonic() < deadline:  # all GPUs are free: only the start of processes takes time
            self.look()
            ray.wait([number for _, _, number in self._coming] or [ray.put(0)], timeout=1.0)

    def died(self, fingerprint: str, gpu: Gpu | None, started: float, why: str = "") -> None:
        """Count the death of a process that ran a trial on `gpu` since monotonic time `started`; `why` is its cause.

        Under MPS all processes on a GPU die of one fault; that counts once.
        """
        if gpu is None or gpu in self.broken_gpus:
            return
        record = self._records.setdefault(gpu, Record())
        record.trials.add(fingerprint)
        if gpu in self._suspects or started < record.counted:
            return
        record.deaths, record.counted, record.why = record.deaths + 1, time.monotonic(), why or record.why
        if record.deaths >= record.needed:
            self._suspects[gpu] = Suspect(time.monotonic())
            self.avoid(gpu, True)

    def worked(self, fingerprint: str, gpu: Gpu | None) -> None:
        """Record that a trial on `gpu` ended without its process dying."""
        for each, record in self._records.items():
            if each != gpu and fingerprint in record.trials:
                record.cleared.add(fingerprint)
        self._records.pop(gpu, None)  # type: ignore[arg-type]

    @property
    def waiting(self) -> bool:
        """True if new trials must wait until a suspected GPU becomes free and is tested."""
        return bool(self._suspects)

    def look(self) -> None:
        """Make progress with suspected GPUs: occupy, test and judge them. Call it regularly."""
        for node, actor, number in list(self._coming):
            if ray.wait([number], timeout=0)[0]:
                self._coming.remove((node, actor, number))
                self._arrived(node, actor, number)
        now = time.monotonic()
        for gpu, suspect in list(self._suspects.items()):
            if suspect.holder is None and now - suspect.since > PAUSE_SECONDS:  # others used it all the time
                self._clear(gpu)
            elif suspect.verdict is not None and ray.wait([suspect.verdict], timeout=0)[0]:
                self._judge(gpu, suspect)
        for node in {gpu.node for gpu, suspect in self._suspects.items() if suspect.holder is None}:
            wanted = sum(gpu.node == node and suspect.holder is None for gpu, suspect in self._suspects.items())
            for _ in range(wanted - sum(each == node for each, _, _ in self._coming)):
                # Ray does not let a task choose its GPU. So holders take whole GPUs until one gets the suspected GPU.
                actor = Holder.options(num_gpus=1, scheduling_strategy=_on(node)).remote()  # type: ignore[attr-defined]
                self._coming.append((node, actor, actor.number.remote()))
        self._let_go({gpu.node for gpu, suspect in self._suspects.items() if suspect.holder is None})

    def close(self) -> None:
        """Free all occupied GPUs at the end of the sweep."""
        self._suspects.clear()
        with suppress(Exception):  # the cluster may be gone; an error here must not hide why the sweep ended
            self._let_go(set())
            for holder in self._holders:
                ray.kill(holder)
        self._holders.clear()

    def _arrived(self, node: str, actor: Any, number: Any) -> None:
        """Assign a holder that got a GPU: to a suspected GPU, or to the list of others."""
        try:
            gpu = Gpu(node, ray.get(number))
        except ray.exceptions.RayError:  # its node is gone
            for gone in [gpu for gpu in self._suspects if gpu.node == node]:
                self._clear(gone)
            return
        suspect = self._suspects.get(gpu)
        if suspect is None or suspect.holder is not None:
            self._others.append((node, actor))
        elif gpu in self.broken_gpus:
            self._holders.append(actor)
            del self._suspects[gpu]
        else:
            suspect.holder, suspect.verdict = actor, actor.fault.remote()

    def _judge(self, gpu: Gpu, suspect: Suspect) -> None:
        record = self._records.setdefault(gpu, Record())
        try:
            fault = ray.get(suspect.verdict)
        except ray.exceptions.RayError:
            self._clear(gpu)
            return
        if not fault and len(record.cleared) < CLEARED:
            self._records[gpu] = Record(needed=2 * record.needed)
            self._clear(gpu)
            return
        del self._suspects[gpu]
        self._holders.append(suspect.holder)
        self.broken_gpus[gpu] = fault or record.why
        why = f" ({self.broken_gpus[gpu]})" if self.broken_gpus[gpu] else ""
        self.avoid(gpu, False)
        self.notice(f"GPU {gpu.number} of node {_address(gpu.node)} gets no more trials: processes die on it{why}")

    def _clear(self, gpu: Gpu) -> None:
        """Remove a GPU from the suspected ones and free it."""
        suspect = self._suspects.pop(gpu)
        if suspect.holder is not None:
            ray.kill(suspect.holder)
        self.avoid(gpu, False)

    def _let_go(self, nodes: set[str]) -> None:
        """Free GPUs that holders got instead of suspected ones, except on `nodes`."""
        for holder in [each[:2] for each in self._coming] + self._others:
            if holder[0] not in nodes:
                ray.kill(holder[1])
        self._coming = [each for each in self._coming if each[0] in nodes]
        self._others = [each for each in self._others if each[0] in nodes]


@ray.remote(num_cpus=0, max_restarts=0)
class Holder:
    """Actor that occupies a GPU, so that no trial gets it."""

    def number(self) -> str:
        """Return the number of the GPU on its node."""
        return str(ray.get_gpu_ids()[0])

    def fault(self) -> str:
        """Return what is wrong with the GPU; "" if it computes."""
        return try_gpus([self.number()]).get(self.number(), "")


@ray.remote(num_cpus=0, max_retries=0, max_calls=1)
def _look() -> tuple[str, Mapping[str, str]]:
    """Return what is wrong with this node's GPU driver, and with the GPUs that this task has, by number."""
    fault = driver_fault()
    return fault, {} if fault else try_gpus([str(number) for number in ray.get_gpu_ids()])


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _address(node: str) -> str:
    known = {each["NodeID"]: each["NodeManagerAddress"] for each in ray.nodes()}  # type: ignore[no-untyped-call]
    return str(known.get(node, node))
