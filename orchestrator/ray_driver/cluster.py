"""Joining a Ray cluster, or starting Ray here; and everything that can be wrong with either, said in one line."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError

import orchestrator
import pruners
import search_spaces
import trainables
from orchestrator.planning.resources import Resources, require_somewhere, this_machine
from orchestrator.ray_driver.nodes import alive, lacking, to_come
from orchestrator.ray_driver.preflight import require_sound
from pruners.errors import words
from search_spaces import SpaceError
from trainables.gpu.memory import mps_runs

CODE = (orchestrator, trainables, pruners, search_spaces)  # nodes run what we run
NO_ENTRY = (  # Ray does not tell why a cluster that answers refuses us; nearly always it is this
    "--address: the cluster answers but does not let us in; put the token of its head (`ray get-auth-token` prints it "
    "there) into ~/.ray/auth_token or RAY_AUTH_TOKEN"
)


@contextmanager
def connected(
    address: str | None,
    resources: Resources,
    output: Path,
    tracking_uri: str,
    data_root: Path | None = None,
    storage: str = "",
) -> Iterator[dict[str, bool]]:
    """Inside, Ray is there: a cluster at `address`, or one on this machine that listens on loopback only.

    Gives whether NVIDIA's MPS runs, for each node with a GPU.

    Raises:
        SpaceError: if nothing answers at `address`, if no node can ever give what one trial asks for, or if a node
            could not run trials or record them where they are looked for.
    """
    if address is None:
        require_somewhere([this_machine()], resources)
        _init("Ray could not start here", address="local", include_dashboard=False)  # "local": whatever runs here
    else:
        # Paths and not the modules: for a job of `ray job submit` Ray makes a deep copy of what is given here.
        folders = [str(Path(str(module.__file__)).parent) for module in CODE]
        _join(address, runtime_env={"py_modules": folders})
    try:
        mps = {node: mps_runs(os.environ) for node, has in alive().items() if has.get("GPU", 0)}  # of a cluster of one
        if address is not None:
            why = lacking(resources, resources.gpus)
            if why is not None:
                raise SpaceError(why)
            if len(alive()) + len(to_come()) > 1:
                _require_server(tracking_uri)
                mps = require_sound(output, data_root, storage)
        yield mps
    finally:
        ray.shutdown()


def survey(address: str) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """The resources of the nodes of the cluster at `address`, and of those that may join them.

    Raises:
        SpaceError: if nothing answers there.
    """
    _join(address)
    try:
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
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        if isinstance(error, AuthenticationError) or "Failed to connect to Ray cluster" in str(error):
            raise SpaceError(NO_ENTRY) from None
        raise SpaceError(f"{what_failed} ({words(error)[:300]})") from None


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Inside, nothing reaches the terminal: a Ray that is refused says so twenty times, below Python."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _require_answer(address: str) -> None:
    """Try the port first: Ray itself tries for minutes, and says so on the terminal all the while."""
    if address.startswith("ray://"):
        raise SpaceError(
            f"--address: '{address}' is Ray Client, through which a sweep cannot follow its trials; run the command "
            "on the head with --address auto, by hand or with `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if not host:
        return  # "auto": Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise SpaceError(f"--address: no Ray answers at '{address}' ({error})") from None


def _require_server(tracking_uri: str) -> None:
    if tracking_uri.startswith("sqlite"):
        raise SpaceError(
            "--tracking-uri: SQLite is for one machine; with several nodes give a server, for example "
            "http://127.0.0.1:5000 on the head of a cluster of `ray up`"
        )
