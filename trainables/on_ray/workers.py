"""A trial's other workers as Ray actors, each in a bundle of the trial's own placement group.

Ray Train is not used: inside Tune its workers take a placement group of their own (Ray 2.60), of which Tune knows
nothing. A trial would then be running while it waits for resources, and hold resources that no worker uses. Ray Train
also starts three more processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import get_current_placement_group, placement_group_table
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainables.context import Place
from trainables.launch import LOOPBACK, START_SECONDS, WorkerAddress, leading, take_part
from trainables.versions import unlike, versions


class MisplacedError(RuntimeError):
    """Error: a worker is on a node that cannot compute trials of this sweep. One line: which node, and why."""


@contextmanager
def ray_workers(place: Place, drivers_versions: Mapping[str, str]) -> Iterator[Place]:
    """Yield `place` with the workers that it asks for. Use it in the first bundle of the placement group.

    Raises:
        MisplacedError: if a worker is on a node with other versions than the driver's.
        LostError, or an error of Ray: if a worker does not start.
    """
    if place.workers == 1:
        yield place
        return
    group = get_current_placement_group()
    assert group is not None  # Tune gives every trial one
    here = set(nodes()) == {ray.get_runtime_context().get_node_id()}
    actors = [
        Worker.options(  # type: ignore[attr-defined]
            num_cpus=room.get("CPU", 0),
            num_gpus=room.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank),
        ).remote()
        for rank, room in enumerate(group.bundle_specs)
        if rank > 0
    ]
    # Before any of them unpickles data that only the driver's versions can read.
    for why in ray.get([actor.misplaced.remote(drivers_versions) for actor in actors], timeout=START_SECONDS):
        if why:
            raise MisplacedError(why)

    def launch(seat: WorkerAddress) -> Acting:
        actor = actors[seat.rank - 1]
        return Acting(actor, actor.work.remote(place, seat))

    with leading(place, LOOPBACK if here else _address(), launch) as led:
        yield led


def nodes() -> list[str]:
    """Return the ids of the nodes of this process's placement group, sorted."""
    return sorted(set(placement_group_table(get_current_placement_group())["bundles_to_node_id"].values()))


def misplaced(drivers_versions: Mapping[str, str]) -> str:
    """Return one line on what this node has in another version than the driver; "" if nothing."""
    why = unlike(versions(), drivers_versions)
    return f"Node {_address()} {why}." if why else ""


def _address() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Acting:
    """Actor of a worker, and the reference of its result. Ray ends it with the process that started it."""

    actor: Any
    work: Any

    def ended(self, seconds: float) -> bool:
        """See `Other.ended`."""
        return bool(ray.wait([self.work], timeout=seconds)[0])

    def kill(self) -> None:
        """See `Other.kill`."""
        ray.kill(self.actor)


@ray.remote(max_restarts=0)
class Worker:
    """Actor for a worker other than the first, in a process of its own."""

    def misplaced(self, drivers_versions: Mapping[str, str]) -> str:
        """See `misplaced`."""
        return misplaced(drivers_versions)

    def work(self, place: Place, seat: WorkerAddress) -> None:
        """Take part in the trial to its end."""
        take_part(place, seat)
