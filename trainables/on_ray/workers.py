"""A trial's other workers as Ray actors, each in a part of the trial's own placement group.

Not Ray Train: inside Tune its workers take a placement group of their own (Ray 2.60), of which Tune knows nothing. So a
trial would be running while it waits for room, and hold room that no worker uses; and it starts three more processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import get_current_placement_group, placement_group_table
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainables.place import Place
from trainables.team.joining import LOOPBACK, Seat, leading, take_part


@contextmanager
def with_workers(place: Place) -> Iterator[Place]:
    """Inside, the place has the workers that it asks for. To be used in the first part of the placement group."""
    if place.workers == 1:
        yield place
        return
    group = get_current_placement_group()
    assert group is not None  # Tune puts every trial into one
    here = set(nodes()) == {ray.get_runtime_context().get_node_id()}

    def launch(seat: Seat) -> Acting:
        part = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=seat.rank)
        room = group.bundle_specs[seat.rank]
        actor = Worker.options(  # type: ignore[attr-defined]
            num_cpus=room.get("CPU", 0), num_gpus=room.get("GPU", 0), scheduling_strategy=part
        ).remote()
        return Acting(actor, actor.work.remote(place, seat))

    with leading(place, LOOPBACK if here else _address(), launch) as led:
        yield led


def nodes() -> list[str]:
    """The nodes of this process's placement group, by their ids."""
    return sorted(set(placement_group_table(get_current_placement_group())["bundles_to_node_id"].values()))


def _address() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Acting:
    """A worker, and what comes when its work is over. Ray ends it with the process that started it."""

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
    """A process of its own for a worker other than the first."""

    def work(self, place: Place, seat: Seat) -> None:
        """To the end."""
        take_part(place, seat)
