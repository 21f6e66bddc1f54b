"""Nodes of the connected cluster: which are alive, their resources, and which nodes an autoscaler may add."""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import ray
import yaml

from orchestrator.planning.resources import Resources, require_somewhere
from orchestrator.ray_driver.gpu_health import Gpu
from search_spaces import SpaceError

LAUNCHER = Path("~/ray_bootstrap_config.yaml")  # `ray up` writes it on the head


def alive(broken_gpus: Collection[Gpu] = ()) -> dict[str, dict[str, float]]:
    """Return the resources of each node that is alive, by its id, without the broken GPUs `broken_gpus`."""
    known = {node["NodeID"]: dict(node["Resources"]) for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
    for node, _ in broken_gpus:
        if node in known:
            known[node]["GPU"] = max(0.0, known[node].get("GPU", 0.0) - 1)
    return known


def answers(node: str) -> bool:
    """Return True if the node with this id is alive and accepts connections.

    Ray itself takes 15 s to notice that a node is gone, and minutes to notice lesser failures.
    """
    there = [known for known in ray.nodes() if known["NodeID"] == node and known["Alive"]]  # type: ignore[no-untyped-call]
    if not there:
        return False
    try:
        socket.create_connection((there[0]["NodeManagerAddress"], there[0]["NodeManagerPort"]), timeout=1).close()
    except OSError:
        return False
    return True


def to_come() -> list[dict[str, float]]:
    """Return the resources of nodes that an autoscaler may add, as known from `ray up` or from KubeRay."""
    kinds = []
    file = LAUNCHER.expanduser()
    if file.is_file():
        types = yaml.safe_load(file.read_text(encoding="utf-8")).get("available_node_types", {})
        kinds += [kind.get("resources", {}) for kind in types.values() if kind.get("max_workers", 1)]
    config = ray._private.state.state.get_cluster_config()  # no public call returns it
    groups = config.node_group_configs if config else []
    return kinds + [dict(group.resources) for group in groups if group.max_count]


def why_no_node(resources: Resources, gpus: float, broken_gpus: Collection[Gpu] = ()) -> str | None:
    """Return why no node, present or to be added, can run a trial with `gpus`; None if one can."""
    try:
        require_somewhere(list(alive(broken_gpus).values()), replace(resources, gpus=gpus), to_come())
    except SpaceError as error:
        return str(error)
    return None
