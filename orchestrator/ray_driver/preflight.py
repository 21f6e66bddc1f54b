"""Checks before a sweep that each node computes as the driver does and stores results where the driver reads them."""

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
from trainables.record.files import appears
from trainables.record.object_store import Bucket, is_object_store
from trainables.versions import unlike, versions

ANSWER_SECONDS = 180.0  # limit for a node's first answer: it fetches our code and imports it
SEEN_SECONDS = 10.0  # within which a node must see a new file of the driver; a new name is in no cache


def require_sound(output: Path, data_root: Path | None, storage: str) -> dict[str, bool]:
    """Raise SpaceError if a node has other versions than the driver, or cannot store results where the driver reads.

    All nodes must see the same storage: the object store or folder `storage`, or `output` if that is "". Trials also
    keep data and copies in `output`, which may be a different folder on each node. During the check a file is written
    into the shared folder, or into the nearest existing parent.
    Returns, for each node with a GPU by its address, whether NVIDIA's MPS runs there.

    Raises:
        SpaceError: in one line that names the node and what is wrong with it.
    """
    shared = None if is_object_store(storage) else Path(storage) if storage else output
    option = "--storage" if storage else "--output"
    token = secrets.token_hex(16)
    file = _existing(shared) / f".seen-{token[:8]}" if shared else None
    look = NodeCheck(
        file, token, output.resolve(), storage if shared is None else "", data_root and data_root.resolve()
    )
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
                raise SpaceError(f"{sight.refused}; node {name} reports this")
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
    """Paths that a node must be able to read or write."""

    file: Path | None  # written by the driver, to be read by all nodes; None if trials are stored in `bucket`
    token: str  # its content
    output: Path  # folder to write into
    bucket: str
    data: Path | None


@dataclass(frozen=True)
class NodeReport:
    """Answer of a node to a `NodeCheck`."""

    versions: Mapping[str, str]
    read: str  # content of the file, or the error
    refused: str  # why it cannot write; "" if it can
    data: bool  # whether the dataset folder exists
    mps: bool  # whether NVIDIA's MPS runs there


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(found for found in (folder.resolve(), *folder.resolve().parents) if found.is_dir())


def _there(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


@ray.remote(num_cpus=0, max_retries=0)
def _look(at: NodeCheck) -> NodeReport:
    """Check the paths on a node and return what was found."""
    appears(lambda: at.file is None or _content(at.file) == at.token, SEEN_SECONDS)
    read = _content(at.file) if at.file else ""
    return NodeReport(versions(), read, _refused(at), at.data is None or at.data.is_dir(), mps_runs(os.environ))


def _content(file: Path) -> str:
    """Return the content of a file, or why it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        return error.strerror or "unreadable"


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
            flag = "--output" if folder.is_relative_to(at.output) else "--storage"
            return f"{flag}: '{folder}' cannot be written ({error.strerror})"
    return ""


def _answer(name: str, answer: ray.ObjectRef[NodeReport]) -> NodeReport:
    try:
        found: NodeReport = ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        raise SpaceError(f"--address: node {name} does not answer within {ANSWER_SECONDS:.0f} s") from None
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1][:300]
        raise SpaceError(f"--address: node {name} cannot run this code ({why})") from None
    return found
