"""Measurement of latencies on nodes of a cluster: each on a GPU, or on the CPUs of a node, that nothing else uses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.planning.resources import Resources
from orchestrator.ray_driver.gpu_health import Gpu
from orchestrator.ray_driver.nodes import alive
from pruners.errors import message_of
from search_spaces import Trial
from trainables.context import Place
from trainables.latency_alone import measure_alone
from trainables.on_ray.workers import misplaced
from trainables.versions import versions

ASK_SECONDS = 1.0  # between two calls of `stop`


class WholeDevice(NamedTuple):
    """Whole device of a node, as what Ray reserves of it."""

    node: str
    cpus: float
    gpus: float


def whole_devices(resources: Resources, broken_gpus: Collection[Gpu] = ()) -> list[WholeDevice]:
    """Return the GPUs of the nodes that are alive, or the nodes with all their CPUs if trials use no GPU."""
    found = []
    for node, has in alive(broken_gpus).items():
        cpus, gpus = has.get("CPU", 0.0), int(has.get("GPU", 0.0))
        if resources.gpus:
            found += [WholeDevice(node, min(resources.cpus, cpus / max(1, gpus)), 1.0)] * gpus
        elif cpus >= resources.cpus:
            found.append(WholeDevice(node, cpus, 0.0))
    return found


def measure_on_whole_devices(
    trials: Sequence[Trial],
    place: Place,
    resources: Resources,
    broken_gpus: Collection[Gpu],
    stop: Callable[[], bool],
) -> Iterator[tuple[Trial, str]]:
    """Measure the latency of each trial; yield it with "" or why it could not be measured, as they end.

    A device measures one trial at a time. If `stop` returns True, those that have not begun are left out.
    """
    free = whole_devices(resources, broken_gpus)
    if not free:
        yield from ((trial, "no node of the cluster has the device") for trial in trials)
        return
    ours, left = dict(versions()), list(reversed(trials))
    running: dict[Any, tuple[Trial, WholeDevice]] = {}
    while running or (left and free):
        while left and free and not stop():
            device, trial = free.pop(), left.pop()
            placed = NodeAffinitySchedulingStrategy(device.node, soft=False)
            asked = _measure.options(num_cpus=device.cpus, num_gpus=device.gpus, scheduling_strategy=placed)
            running[asked.remote(trial.model_dump_json(), place, ours)] = trial, device
        if stop() and not running:
            return
        for done in ray.wait(list(running), timeout=ASK_SECONDS)[0]:
            trial, device = running.pop(done)
            try:
                yield trial, ray.get(done)
                free.append(device)
            except ray.exceptions.RayError as error:  # the node is lost, and its device with it
                yield trial, message_of(error)[:200]
    yield from ((trial, "no node of the cluster is left") for trial in (left if not stop() else ()))


@ray.remote(max_retries=0)
def _measure(trial: str, place: Place, drivers_versions: dict[str, str]) -> str:
    return misplaced(drivers_versions) or measure_alone(Trial.model_validate_json(trial), place)
