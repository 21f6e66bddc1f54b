"""Connection to a Ray cluster or to a new local Ray; each error is reported in one line."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError

import orchestrator
import pruners
import search_spaces
import trainables
from orchestrator.planning.resources import Resources, require_somewhere, this_machine
from orchestrator.ray_driver.absent_nodes import await_nodes
from orchestrator.ray_driver.nodes import alive, to_come, why_no_node
from orchestrator.ray_driver.preflight import require_sound
from pruners.errors import message_of
from search_spaces import SpaceError
from trainables.gpu.memory import mps_runs

CODE = (orchestrator, trainables, pruners, search_spaces)  # sent to all nodes, so that they run the driver's code
NO_ENTRY = (  # the most common cause if a cluster answers but refuses us; Ray does not say why
    "--address: the cluster answers but refuses the connection; put the token of its head (`ray get-auth-token` prints "
    "it there) into ~/.ray/auth_token or RAY_AUTH_TOKEN"
)
SHORTER = "; set RAY_TMPDIR to a folder that you can write, with a short path such as /tmp/ray-of-me"

BUSY = "; other programs keep this machine busy: try again later"  # Ray gives itself 30 s, which is no option


@contextmanager
def ray_connection(
    address: str | None,
    resources: Resources,
    output: Path,
    tracking_uri: str,
    data_root: Path | None = None,
    storage: str = "",
) -> Iterator[dict[str, bool]]:
    """Connect to Ray inside the block: to a cluster at `address`, or to a local one that listens on loopback only.

    Yields, for each node with a GPU, whether NVIDIA's MPS runs there; keys are addresses, or ids if there is one node.

    Raises:
        SpaceError: if nothing answers at `address`, if no node can ever provide the resources of a trial, or if a node
            could not run trials, or could not record them where the driver reads them.
    """
    if address is None:
        require_somewhere([this_machine()], resources)
        with _signals_held_back():
            _init("Ray could not start here", address="local", include_dashboard=False)  # "local": ignore a running Ray
    else:
        # Paths instead of modules: Ray deep-copies `runtime_env` in a job of `ray job submit`.
        folders = [str(Path(str(module.__file__)).parent) for module in CODE]
        _join(address, runtime_env={"py_modules": folders})
    try:
        mps = {node: mps_runs(os.environ) for node, has in alive().items() if has.get("GPU", 0)}  # for one node
        if address is not None:
            why = why_no_node(resources, resources.gpus)
            if why is not None:
                raise SpaceError(why)
            if len(alive()) + len(to_come()) > 1:
                _require_server(tracking_uri)
                mps = require_sound(output, data_root, storage)
        yield mps
    finally:
        ray.shutdown()


def cluster_resources(
    address: str, resources: Resources, say: Callable[[str], object]
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Return the resources of the nodes of the cluster at `address`, and of those that may join.

    If no node can run a trial with `resources` while nodes of the cluster still install, wait for one; `say` tells.

    Raises:
        SpaceError: if nothing answers at `address`.
    """
    _join(address)
    try:
        await_nodes(resources, say)
        return list(alive().values()), to_come()
    finally:
        ray.shutdown()


def _join(address: str, **options: Any) -> None:
    _require_answer(address)
    _init(f"--address: no Ray answers at '{address}'", address=address, **options)


def _init(what_failed: str, **options: Any) -> None:
    try:
        with _without_stderr():
            ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
    except Exception as error:  # noqa: BLE001 - Ray raises errors of any kind here, its own and the system's
        if isinstance(error, AuthenticationError) or "Failed to connect to Ray cluster" in str(error):
            raise SpaceError(NO_ENTRY) from None
        hint = SHORTER if isinstance(error, OSError) and not isinstance(error, ConnectionError) else ""
        hint = BUSY if "timed out during startup" in str(error) else hint
        raise SpaceError(f"{what_failed} ({message_of(error)[:300]}){hint}") from None


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Start processes inside the block that do not end by SIGTERM or SIGHUP: they end when this process ends them.

    Queues, systemd and `timeout` send these signals to all processes of a sweep. Without Ray's processes the trials
    could not save where they stand. Blocked signals stay blocked in processes that are started meanwhile.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard stderr inside the block: a refused Ray prints the error twenty times, from outside of Python."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _require_answer(address: str) -> None:
    """Raise SpaceError if nothing listens at `address`: Ray itself would retry for minutes and print errors."""
    if address.startswith("ray://"):
        raise SpaceError(
            f"--address: '{address}' is for Ray Client, which cannot follow a sweep's trials; run the command "
            "on the head with --address auto, by hand or with `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if not host:
        return  # "auto": Ray finds the address
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise SpaceError(f"--address: no Ray answers at '{address}' ({error})") from None


def _require_server(tracking_uri: str) -> None:
    if tracking_uri.startswith("sqlite") and "SLURM_JOB_ID" not in os.environ:  # there drivers follow one another
        raise SpaceError(
            "--tracking-uri: SQLite is for one machine; with several nodes give a server, for example "
            "http://127.0.0.1:5000 on the head of a cluster of `ray up`"
        )
