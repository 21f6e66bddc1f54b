"""Start of a trial's workers: they connect to the first one, train with it, and end with it."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnProcess

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from search_spaces import Trial
from trainables.context import Place, images_of, make_ready
from trainables.distributed.group import START, LostError, Other, Team
from trainables.gpu.memory import works
from trainables.training.loop import StoppedError, TrainingError
from trainables.training.trainer import Trainer, make_trainer


def follow_first_worker(place: Place, team: Team) -> None:
    """Train as the first worker orders, until it needs no others or is gone; write only the decoded dataset."""
    device = make_ready(place)
    on: Trainer | None = None
    for order in team.orders(device):
        # Every order contains the weights, so no file of pretrained weights is needed here.
        trial = Trial.model_validate_json(order["trial"]).model_copy(update={"pretrained": ""})
        if on is None or on.trial != trial:
            on = make_trainer(trial, images_of(trial, place), device, place.save_seconds, team=team)
        on.model.load_state_dict(order["model"])
        try:
            on.train(
                order["masks"],
                state=order["state"],
                save=lambda state: None,
                until=order["until"],
                dynamics=on.dynamics() if order["changing"] else None,
                compact=order["compact"],
            )
        except (StoppedError, TrainingError):  # all workers raise it at the same step; the first one handles it
            continue


LOOPBACK = "127.0.0.1"
START_SECONDS = 600.0  # limit for a worker's start: it imports torch, and may have to fetch its code first
STUCK_SECONDS = 60.0  # after a worker's end, until the first worker, which may still wait for it, ends as well
SIOCGIFADDR = 0x8915  # Linux: the address of a network interface


@dataclass(frozen=True)
class WorkerAddress:
    """Rank of a worker in a team, and the address at which the first worker listens."""

    rank: int
    size: int
    host: str
    port: int


@contextmanager
def leading(place: Place, host: str, launch: Callable[[WorkerAddress], Other]) -> Iterator[Place]:
    """Yield `place` with a team of `place.workers`, of which this process is the first; `launch` starts the others.

    They connect to this process at `host`, an address of this machine. They are killed when the block is left.

    Raises:
        LostError: if a worker does not start.
    """
    listening = socket.create_server((host, 0))  # torch's own socket would listen on all interfaces
    port = listening.getsockname()[1]
    store = TCPStore(
        host, port, place.workers, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach()
    )
    over, device = threading.Event(), own_device(place)
    others: list[Other] = []
    try:
        for rank in range(1, place.workers):
            others.append(launch(WorkerAddress(rank, place.workers, host, port)))
        team = Team(0, place.workers, store, tuple(others))
        _await(team)
        if host != LOOPBACK or device.type == "cuda":
            threading.Thread(target=_watch, args=(others, over), daemon=True).start()
        with _joined(team, host, device):
            yield replace(place, team=team, device=str(device))
    finally:
        over.set()
        for other in others:
            other.kill()


def take_part(place: Place, seat: WorkerAddress, work: Callable[[Place, Team], object] = follow_first_worker) -> None:
    """Run `work` as the worker of `seat`; report any error to the first worker, then raise it."""
    with socket.create_connection((seat.host, seat.port), timeout=60) as connection:
        own = connection.getsockname()[0]
    store = TCPStore(seat.host, seat.port, seat.size, is_master=False)
    team = Team(seat.rank, seat.size, store)
    store.set(_here(seat.rank), "yes")
    try:
        device = own_device(place)
        with _joined(team, own, device):
            work(replace(place, device=str(device)), team)
    except Exception as error:
        team.failed(error, works(place.device))
        raise


def _await(team: Team) -> None:
    """Wait until the other workers have started. Raises LostError if one ends or takes more than `START_SECONDS`."""
    assert team.store is not None
    deadline = time.monotonic() + START_SECONDS
    for rank, other in enumerate(team.others, 1):
        while not team.store.check([_here(rank)]):
            if other.ended(0.2) or time.monotonic() > deadline:
                raise LostError(f"worker {rank} of {team.size} did not start")


@contextmanager
def _joined(team: Team, address: str, device: torch.device) -> Iterator[None]:
    """Connect the team by torch's process group inside the block, over the network interface that has `address`."""
    assert team.store is not None
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    if before is None and (name := _interface(address)):  # by default gloo uses the address of the host's name
        os.environ["GLOO_SOCKET_IFNAME"] = name
    if device.type == "cuda":
        torch.cuda.set_device(device)  # before any allocation: else every process would open a context on GPU 0
    try:
        backend = backend_for(device)
        dist.init_process_group(
            backend,
            store=PrefixStore("group", team.store),
            rank=team.rank,
            world_size=team.size,
            timeout=START,
            device_id=device if "nccl" in backend else None,  # connects at once, so NCCL fails before the first step
        )
    finally:
        if before is None:
            os.environ.pop("GLOO_SOCKET_IFNAME", None)
    try:
        yield
    finally:
        with suppress(RuntimeError):  # other workers may have ended already
            dist.destroy_process_group()


def own_device(place: Place) -> torch.device:
    """Return the device of this worker, a GPU with its index: 0 if none is given, because Ray hides other GPUs."""
    device = torch.device(place.device)
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def backend_for(device: torch.device) -> str:
    """Return the backend of torch's process group for workers on `device`.

    NCCL between GPUs, unless this torch has none or the environment has TEAM_BACKEND=gloo. Gloo goes through the host's
    memory: it is slower, but works where NCCL cannot run, for example with two workers on one GPU.
    """
    nccl = device.type == "cuda" and dist.is_nccl_available() and os.environ.get("TEAM_BACKEND") != "gloo"
    return "cpu:gloo,cuda:nccl" if nccl else "gloo"


def _watch(others: list[Other], over: threading.Event) -> None:
    """End this process if it waits for a worker that is gone: NCCL and lost machines raise no error."""
    while not over.wait(1.0):
        gone = [rank for rank, other in enumerate(others, 1) if other.ended(0)]
        if gone and not over.wait(STUCK_SECONDS):
            print(f"worker {gone[0]} of {len(others) + 1} died; the trial continues from its last checkpoint")  # noqa: T201
            os._exit(1)


def _interface(address: str) -> str | None:
    """Return the name of this machine's network interface that has `address`; None if none is found."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None


def _here(rank: int) -> str:
    return f"here/{rank}"


@dataclass(frozen=True)
class WorkerProcess:
    """Worker in a process of its own on this machine."""

    process: SpawnProcess

    def ended(self, seconds: float) -> bool:
        """Return True if the worker ends within `seconds`; see `Other.ended`."""
        self.process.join(seconds)
        return self.process.exitcode is not None

    def kill(self) -> None:
        """Kill the worker's process; see `Other.kill`."""
        self.process.kill()
        self.process.join()


@contextmanager
def local_workers(place: Place) -> Iterator[Place]:
    """Yield `place` with its workers started on this machine, each with a GPU of its own if it uses GPUs."""
    if place.workers == 1:
        yield place
        return
    context = multiprocessing.get_context("spawn")

    def launch(seat: WorkerAddress) -> WorkerProcess:
        process = context.Process(target=_work, args=(_of(place, seat.rank), seat))
        process.start()
        return WorkerProcess(process)

    with leading(_of(place, 0), LOOPBACK, launch) as led:
        yield led


def _of(place: Place, rank: int) -> Place:
    return replace(place, device=f"cuda:{rank}") if place.device == "cuda" else place


def _work(place: Place, seat: WorkerAddress) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C reaches all processes, but the first worker decides
    try:
        take_part(place, seat)
    except Exception:  # noqa: BLE001 - the first worker has received the error and reports it
        sys.exit(1)
