"""The nodes of the connected cluster: what they have, what may join them, and what keeps one from running trials."""

from __future__ import annotations

import platform
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ray
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.resources import Resources, require_somewhere
from search_spaces import SpaceError

SAME = ("ray", "torch", "torchvision", "pydantic")  # what trials compute with, and what their records are read by
ANSWER_SECONDS = 180.0  # a node's first: it fetches our code and imports it
LAUNCHER = Path("~/ray_bootstrap_config.yaml")  # what `ray up` leaves on the head


def alive() -> dict[str, dict[str, float]]:
    """The resources of each node, by its id."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]


def answers(node: str) -> bool:
    """Whether the node of that id is there. Ray itself takes 15 s to see that one is gone, and minutes to see less."""
    there = [known for known in ray.nodes() if known["NodeID"] == node and known["Alive"]]  # type: ignore[no-untyped-call]
    if not there:
        return False
    try:
        socket.create_connection((there[0]["NodeManagerAddress"], there[0]["NodeManagerPort"]), timeout=1).close()
    except OSError:
        return False
    return True


def to_come() -> list[dict[str, float]]:
    """What the nodes have that an autoscaler may add: `ray up` writes it on the head, KubeRay tells the cluster."""
    kinds = []
    file = LAUNCHER.expanduser()
    if file.is_file():
        types = yaml.safe_load(file.read_text(encoding="utf-8")).get("available_node_types", {})
        kinds += [kind.get("resources", {}) for kind in types.values() if kind.get("max_workers", 1)]
    config = ray._private.state.state.get_cluster_config()
    groups = config.node_group_configs if config else []
    return kinds + [dict(group.resources) for group in groups if group.max_count]


def lacking(resources: Resources, gpus: float) -> str | None:
    """Why no node that is there or may come can run a trial with `gpus`, or None if one can."""
    try:
        require_somewhere([*alive().values(), *to_come()], Resources(resources.cpus, gpus))
    except SpaceError as error:
        return str(error)
    return None


def versions() -> dict[str, str]:
    """Of all that must be the same on every node. torch's build (+cpu, +cu128) may differ, its version not."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for package in SAME:
        try:
            found[package] = version(package).partition("+")[0]
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def require_sound(output: Path, data_root: Path | None = None) -> None:
    """Refuse a cluster some node of which would compute something else, or where nobody would find it.

    Writes a file into `output`, or where it would be made, for as long as that takes.

    Raises:
        SpaceError: naming the node, and what it lacks.
    """
    token = secrets.token_hex(16)
    folder = next(folder for folder in (output.resolve(), *output.resolve().parents) if folder.is_dir())
    file = folder / f".seen-{token[:8]}"
    try:
        file.write_text(token, encoding="utf-8")
    except OSError as error:
        raise SpaceError(f"--output: '{output}' cannot be written ({error.strerror})") from None
    try:
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
        data = data_root.resolve() if data_root else None
        answers = {node: _look.options(scheduling_strategy=_there(node)).remote(file, data) for node in nodes}
        ray.wait(list(answers.values()), num_returns=len(answers), timeout=ANSWER_SECONDS)
        for node, answer in answers.items():
            sight = _answer(nodes[node], answer)
            _require_same(nodes[node], sight.versions)
            if sight.read != token:
                where = f"'{folder}' ({sight.read})"
                raise SpaceError(
                    f"--output: node {nodes[node]} does not see {where}; give a folder that all nodes share"
                )
            if not sight.data:
                raise SpaceError(
                    f"--data-root: node {nodes[node]} does not see '{data}'; give one that all nodes share"
                )
    finally:
        file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Sight:
    """What a node sees: its versions, what it reads in a file that the driver wrote, and whether the data is there."""

    versions: dict[str, str]
    read: str
    data: bool


def _there(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


@ray.remote(num_cpus=0, max_retries=0)
def _look(file: Path, data: Path | None) -> Sight:
    """Done on a node."""
    try:
        read = file.read_text(encoding="utf-8")
    except OSError as error:
        read = error.strerror or "unreadable"
    return Sight(versions(), read, data is None or data.is_dir())


def _answer(name: str, answer: ray.ObjectRef[Sight]) -> Sight:
    try:
        found: Sight = ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        raise SpaceError(f"--address: node {name} does not answer within {ANSWER_SECONDS:.0f} s") from None
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1][:300]
        raise SpaceError(f"--address: node {name} cannot run this code ({why})") from None
    return found


def _require_same(name: str, theirs: Mapping[str, str]) -> None:
    for what, ours in versions().items():
        if theirs[what] != ours:
            raise SpaceError(f"--address: node {name} has {what} {theirs[what]}, but here it is {what} {ours}")
