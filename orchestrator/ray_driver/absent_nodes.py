"""Nodes that belong to the connected cluster and are not in it: waited for while they install, and named."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import ray
import yaml

from orchestrator.planning.resources import Resources, room
from orchestrator.ray_driver import nodes

JOIN_SECONDS = 1200.0  # a fresh node installs torch first
LOOK_SECONDS = 5.0
SET_UP_AGAIN = (
    "if one stays out, set it up again from the machine of `ray up`: "
    "RAY_UP_enable_autoscaler_v2=0 ray up --disable-usage-stats my-cluster.yaml"
)


def absent() -> tuple[list[str], str]:
    """Return which nodes are not in the cluster though they belong to it, and what the user can do.

    Known are the machines of one's own that `ray up` lists, and the number of nodes of a Slurm job.
    """
    there = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    file = nodes.LAUNCHER.expanduser()
    provider = yaml.safe_load(file.read_text(encoding="utf-8")).get("provider", {}) if file.is_file() else {}
    if provider.get("type") == "local":
        known = {name for node in there for name in (node["NodeManagerAddress"], node["NodeManagerHostname"])}
        listed = [str(worker) for worker in provider.get("worker_ips", ())]
        return [worker for worker in listed if not {worker, _address(worker)} & known], SET_UP_AGAIN
    job, count = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_JOB_NUM_NODES", "0")
    if job and len(there) < int(count):
        return [f"{int(count) - len(there)} of the {count} nodes of the Slurm job"], f"sweep-{job}-ray.log says why"
    return [], ""


def await_nodes(resources: Resources, say: Callable[[str], object]) -> None:
    """Wait while no node can run a trial and some have not joined; tell the user by `say`, also who stays out."""
    deadline = time.monotonic() + JOIN_SECONDS
    told = False
    while (out := absent()[0]) and not _room(resources) and time.monotonic() < deadline:
        if not told:
            say(
                f"no node can run a trial yet; waiting up to {JOIN_SECONDS / 60:.0f} min for {', '.join(out)} "
                "to install and join"
            )
        told = True
        time.sleep(LOOK_SECONDS)
    out, advice = absent()
    if out:
        say(f"not in the cluster: {', '.join(out)}; {advice}")


def _room(resources: Resources) -> bool:
    return any(room(resources, node) for node in nodes.alive().values())


def _address(name: str) -> str:
    with suppress(OSError):
        return socket.gethostbyname(name)
    return name
