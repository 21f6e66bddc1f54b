"""Whether each node of a cluster can compute what the driver's would, and put it where it is found."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search_spaces import SpaceError
from trainables.gpu.memory import mps_runs
from trainables.record.object_store import Bucket, is_object_store
from trainables.versions import unlike, versions

ANSWER_SECONDS = 180.0  # a node's first: it fetches our code and imports it


def require_sound(output: Path, data_root: Path | None, storage: str) -> dict[str, bool]:
    """Refuse a cluster some node of which would compute something else, or where nobody would find it.

    What trials write is found where all nodes see the same: in the object store `storage`, in that folder, or without
    one in `output`. Beside it each trial keeps data and copies in `output`, which need not be the same one everywhere.
    Writes a file there, or where they would be made, for as long as that takes.
    Returns whether NVIDIA's MPS runs, for each node with a GPU.

    Raises:
        SpaceError: naming the node, and what it lacks.
    """
    shared = None if is_object_store(storage) else Path(storage) if storage else output
    option = "--storage" if storage else "--output"
    token = secrets.token_hex(16)
    file = _existing(shared) / f".seen-{token[:8]}" if shared else None
    look = NodeCheck(file, output.resolve(), storage if shared is None else "", data_root and data_root.resolve())
    try:
        if file:
            file.write_text(token, encoding="utf-8")
    except OSError as error:
        raise SpaceError(f"{option}: '{shared}' cannot be written ({error.strerror})") from None
    try:
        there = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in there}
        with_gpus = {node["NodeID"] for node in there if node["Resources"].get("GPU", 0)}
        mps: dict[str, bool] = {}
        answers = {node: _look.options(scheduling_strategy=_there(node)).remote(look) for node in nodes}
        ray.wait(list(answers.values()), num_returns=len(answers), timeout=ANSWER_SECONDS)
        for node, answer in answers.items():
            name, sight = nodes[node], _answer(nodes[node], answer)
            why = unlike(sight.versions, versions())
            if why is not None:
                raise SpaceError(f"--address: node {name} {why}")
            if file and sight.read != token:
                raise SpaceError(
                    f"{option}: node {name} does not see '{file.parent}' ({sight.read}); "
                    "give a folder that all nodes share, or an object store as --storage"
                )
            if sight.refused:
                raise SpaceError(f"{sight.refused}; this is what node {name} says")
            if not sight.data:
                raise SpaceError(f"--data-root: node {name} does not see '{look.data}'; give one that all nodes share")
            if node in with_gpus:
                mps[name] = sight.mps
        return mps
    finally:
        if file:
            file.unlink(missing_ok=True)


@dataclass(frozen=True)
class NodeCheck:
    """What a node is to look at."""

    file: Path | None  # that the driver wrote, and all are to see; None if trials are stored in `bucket`
    output: Path  # a folder to write into
    bucket: str
    data: Path | None


@dataclass(frozen=True)
class Sight:
    """What a node sees."""

    versions: Mapping[str, str]
    read: str  # in the file
    refused: str  # why it cannot write where it must; "" if it can
    data: bool
    mps: bool  # whether NVIDIA's MPS runs there


def _existing(folder: Path) -> Path:
    """The folder, or the one in which it would be made."""
    return next(found for found in (folder.resolve(), *folder.resolve().parents) if found.is_dir())


def _there(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


@ray.remote(num_cpus=0, max_retries=0)
def _look(at: NodeCheck) -> Sight:
    """Done on a node."""
    read = ""
    try:
        read = at.file.read_text(encoding="utf-8") if at.file else ""
    except OSError as error:
        read = error.strerror or "unreadable"
    return Sight(versions(), read, _refused(at), at.data is None or at.data.is_dir(), mps_runs(os.environ))


def _refused(at: NodeCheck) -> str:
    try:
        if at.bucket:
            Bucket(at.bucket).require_writable()
    except SpaceError as error:
        return str(error)
    for folder in (at.output, at.file.parent if at.file else at.output):
        try:
            with TemporaryFile(dir=_existing(folder)):
                pass
        except OSError as error:
            return f"--output: '{folder}' cannot be written ({error.strerror})"
    return ""


def _answer(name: str, answer: ray.ObjectRef[Sight]) -> Sight:
    try:
        found: Sight = ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        raise SpaceError(f"--address: node {name} does not answer within {ANSWER_SECONDS:.0f} s") from None
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1][:300]
        raise SpaceError(f"--address: node {name} cannot run this code ({why})") from None
    return found
