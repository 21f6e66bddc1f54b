"""Resources of a trial, and checks that some machine can provide them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from search_spaces import SpaceError

FRACTION = "a fraction of at most four decimals up to 1, or a whole number"


@dataclass(frozen=True)
class Resources:
    """Resources of each worker of a trial, and how many trials may run at once (None: as many as fit)."""

    cpus: float = 1
    gpus: float = 0
    max_concurrent: int | None = None
    auto: bool = False  # each kind of trial gets its measured share of a GPU, at most `gpus`
    workers: int = 1  # that train one trial together, on one node or several
    shares: Mapping[str, float] = field(default_factory=dict)  # measured shares of a GPU, by fingerprint

    def __str__(self) -> str:
        cpus = f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}"
        if self.workers > 1:
            cpus = f"{self.workers} workers, each with {cpus}"
        if self.auto:
            gpus = "as much of a GPU as it needs"
        elif not self.gpus:
            gpus = "no GPU"
        else:
            gpus = f"{self.gpus:g} {'of a GPU' if self.gpus < 1 else 'GPU' + 's' * (self.gpus != 1)}"
        return f"{cpus} and {gpus}"

    @property
    def sharing(self) -> bool:
        """Return True if several trials may share one GPU."""
        return self.auto or 0 < self.gpus < 1


def each_worker(gpus: float, workers: int | None) -> tuple[float, int]:
    """Return the GPUs of each worker and the number of workers, for a trial with `gpus`: one each, or none.

    Raises:
        SpaceError: if `workers` is below 1, or several workers do not have one GPU each or none.
    """
    if workers is None:
        return (1, int(gpus)) if gpus > 1 and gpus == int(gpus) else (gpus, 1)
    if workers < 1:
        raise SpaceError(f"--workers-per-trial: {workers} is not allowed; it must be at least 1")
    if workers > 1 and gpus not in (0, workers):
        raise SpaceError(f"--workers-per-trial: {workers} cannot share {gpus:g} GPUs; each has one of its own, or none")
    return (1, workers) if workers > 1 and gpus else (gpus, workers)


def require_legal(resources: Resources) -> None:
    """Reject resources for which Ray would only report "Tracked actor is not managed", or wait forever.

    Raises:
        SpaceError: in one sentence.
    """
    cpus = resources.cpus
    if not 0 < cpus < math.inf or (cpus > 1 and cpus != int(cpus)) or round(cpus, 4) != cpus:
        raise SpaceError(f"--cpus-per-trial: {cpus:g} is not allowed; it must be above 0: {FRACTION}")
    gpus = resources.gpus
    if not 0 <= gpus < math.inf or (gpus > 1 and gpus != int(gpus)) or round(gpus, 4) != gpus:
        raise SpaceError(f"--gpus-per-trial: {gpus:g} is not allowed; it must be {FRACTION}")
    if resources.max_concurrent is not None and resources.max_concurrent < 1:
        raise SpaceError(f"--max-concurrent: {resources.max_concurrent} is not allowed; it must be at least 1")


def this_machine() -> dict[str, float]:
    """Return the CPUs and GPUs that Ray will find on this machine."""
    return {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}


def require_somewhere(
    nodes: Sequence[Mapping[str, float]], resources: Resources, to_come: Sequence[Mapping[str, float]] = ()
) -> None:
    """Raise an error instead of waiting forever for resources that no node, or all nodes together, can provide.

    There may be any number of nodes like those in `to_come`.

    Raises:
        SpaceError: naming the resource, the request and the most that there is.
    """
    gpus = "auto" if resources.auto else f"{resources.workers * resources.gpus:g}"
    for flag, kind, asked, text in (
        ("--cpus-per-trial", "CPU", resources.cpus, f"{resources.cpus:g}"),
        ("--gpus-per-trial", "GPU", resources.gpus, gpus),
    ):
        most = max((node.get(kind, 0) for node in (*nodes, *to_come)), default=0)
        if asked > most:
            there = f"more than {most:g} {kind}s" if most else f"a {kind}"
            raise SpaceError(f"{flag}: {text} asked for, but no node has {there}")
    fit = sum(room(resources, node) for node in nodes)
    if 1 < resources.workers > fit and not any(room(resources, node) for node in to_come):
        alone = Resources(resources.cpus, resources.gpus)
        raise SpaceError(
            f"--workers-per-trial: {resources.workers} asked for, but there is room for {fit} with {alone} each"
        )


def usual_share(nodes: Iterable[Mapping[str, float]]) -> float:
    """Return the default share of a GPU for each trial; networks for CIFAR leave most of a GPU idle."""
    return 0.25 if any(node.get("GPU", 0) for node in nodes) else 0


def room(resources: Resources, node: Mapping[str, float]) -> int:
    """Return how many workers of trials fit on `node`."""
    fit = [node.get("CPU", 0) / resources.cpus]
    if resources.gpus:
        fit.append(node.get("GPU", 0) / resources.gpus)
    return int(min(fit))


def concurrency(resources: Resources, *nodes: Mapping[str, float]) -> int:
    """Return how many trials run on `nodes` at once; the workers of one trial may be on several nodes."""
    fit = sum(room(resources, node) for node in nodes) // resources.workers
    return min(fit, resources.max_concurrent or fit)
